#include "train/checksum.h"

#include <zlib.h>

namespace mmrec {

uint32_t crc32_of(std::span<const std::byte> bytes, uint32_t before) {
  return static_cast<uint32_t>(crc32_z(before, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

uint32_t crc32_of(std::string_view text) { return crc32_of(std::as_bytes(std::span(text))); }

}  // namespace mmrec
