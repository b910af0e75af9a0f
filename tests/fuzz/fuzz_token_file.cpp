#include <algorithm>
#include <cstring>

#include "support/checksum.h"
#include "tests/fuzz/fuzz_target.h"
#include "train/data/token_file.h"

using namespace mmrec;

namespace {

// bytes; offsets from docs/data.md
constexpr size_t kHeader = 64, kIdsChecksum = 40, kHeaderChecksum = 60;

void read(std::string_view content) {
  static fuzz::MemoryFile input;
  input.write(content);
  fuzz::accepts([&] {
    const auto [tokens, source] = read_token_file(input.path());
    fuzz::require(
        tokens.count() >= 0 && static_cast<size_t>(tokens.count()) <= content.size() - kHeader,
        "no more ids than bytes");
    int64_t visited = 0, beyond = 0;
    for (int64_t first = 0; first < tokens.count(); first += 1000)
      tokens.read(first, static_cast<int>(std::min<int64_t>(1000, tokens.count() - first)),
                  [&](int, int32_t id) {
                    ++visited;
                    beyond += static_cast<uint32_t>(id) >= static_cast<uint32_t>(source.vocabulary);
                  });
    fuzz::require(visited == tokens.count(), "all ids are there");
    fuzz::require(beyond == 0, "all ids are below the vocabulary");
  });
}

}  // namespace

/// A token file: as given, and with corrected checksums. Wrong checksums would reject nearly every
/// input.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string content(fuzz::text_of(data, size));
  read(content);
  if (size < kHeader) return 0;
  const uint32_t ids = crc32_of(std::string_view(content).substr(kHeader));
  std::memcpy(content.data() + kIdsChecksum, &ids, sizeof ids);
  const uint32_t header = crc32_of(std::string_view(content).substr(0, kHeaderChecksum));
  std::memcpy(content.data() + kHeaderChecksum, &header, sizeof header);
  read(content);
  return 0;
}
