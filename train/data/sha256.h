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

/// The SHA-256 of what comes in pieces.
class Sha256 {
 public:
  Sha256();
  void update(std::span<const std::byte> bytes);
  /// In lower-case hexadecimal; the last call.
  std::string hex();

 private:
  std::unique_ptr<evp_md_ctx_st, void (*)(evp_md_ctx_st*)> context_;
};

/// The SHA-256 of a whole file in lower-case hexadecimal. `observe` is told now and then how many bytes have been read, and may
/// throw.
std::string sha256_of_file(const std::filesystem::path& path, const std::function<void(int64_t bytes_read)>& observe);

}  // namespace mmrec
