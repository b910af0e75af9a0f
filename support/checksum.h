#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace mmrec {

/// CRC-32 of zlib and gzip. For data in pieces, `before` is the CRC-32 of the pieces before.
uint32_t crc32_of(std::span<const std::byte> bytes, uint32_t before = 0);
uint32_t crc32_of(std::string_view text);
/// CRC-32C (Castagnoli's polynomial), as in TFRecord.
uint32_t crc32c_of(std::string_view text);

}  // namespace mmrec
