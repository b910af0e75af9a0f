#include "tests/fuzz/fuzz_target.h"
#include "train/data/tokenizer.h"
#include "train/data/wikipedia.h"

using namespace mmrec;

/// A dump of Wikipedia's pages.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::MemoryFile input;
  input.write(fuzz::text_of(data, size));
  fuzz::accepts([&] {
    read_wikipedia(
        input.path(),
        [](std::string_view document) {
          fuzz::require(fuzz::accepts([&] { check_utf8(document, "a document"); }),
                        "a document is UTF-8");
        },
        [](int64_t) {});
  });
  return 0;
}
