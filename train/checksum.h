#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct evp_md_ctx_st;  // OpenSSL's

namespace mmrec {

/// The CRC-32 of zlib and gzip; of a text in pieces, `before` is that of the pieces before.
uint32_t crc32_of(std::span<const std::byte> bytes, uint32_t before = 0);
uint32_t crc32_of(std::string_view text);
/// The CRC-32C (Castagnoli's polynomial) of TFRecord.
uint32_t crc32c_of(std::string_view text);

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
