#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace mmrec {

/// The CRC-32 of zlib and gzip; of a text in pieces, `before` is that of the pieces before.
uint32_t crc32_of(std::span<const std::byte> bytes, uint32_t before = 0);
uint32_t crc32_of(std::string_view text);
/// The CRC-32C (Castagnoli's polynomial) of TFRecord.
uint32_t crc32c_of(std::string_view text);

}  // namespace mmrec
