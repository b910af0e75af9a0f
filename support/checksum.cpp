#include "support/checksum.h"

#include <zlib.h>

#include <array>

namespace mmrec {

uint32_t crc32_of(std::span<const std::byte> bytes, uint32_t before) {
  return static_cast<uint32_t>(
      crc32_z(before, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

uint32_t crc32_of(std::string_view text) { return crc32_of(std::as_bytes(std::span(text))); }

uint32_t crc32c_of(std::string_view text) {
  constexpr uint32_t kPolynomial = 0x82F63B78;  // bits reversed
  static constexpr std::array<uint32_t, 256> kTable = [] {
    std::array<uint32_t, 256> table{};
    for (uint32_t byte = 0; byte < 256; ++byte) {
      table[byte] = byte;
      for (int bit = 0; bit < 8; ++bit)
        table[byte] = table[byte] >> 1 ^ (table[byte] & 1 ? kPolynomial : 0);
    }
    return table;
  }();
  uint32_t crc = ~0u;
  for (const char byte : text)
    crc = crc >> 8 ^ kTable[(crc ^ static_cast<unsigned char>(byte)) & 0xFF];
  return ~crc;
}

}  // namespace mmrec
