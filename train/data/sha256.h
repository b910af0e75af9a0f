#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>

struct evp_md_ctx_st;  // OpenSSL's

namespace mmrec {

/// Computes the SHA-256 of data that arrives in pieces.
class Sha256 {
 public:
  Sha256();
  void update(std::span<const std::byte> bytes);
  /// Returns the digest in lower-case hexadecimal. Must be the last call.
  std::string hex();

 private:
  std::unique_ptr<evp_md_ctx_st, void (*)(evp_md_ctx_st*)> context_;
};

/// Returns the SHA-256 of a file in lower-case hexadecimal. `observe` is called now and then with
/// the bytes read so far, and may throw.
std::string sha256_of_file(
    const std::filesystem::path& path,
    const std::function<void(int64_t bytes_read)>& observe = [](int64_t) {});

}  // namespace mmrec
