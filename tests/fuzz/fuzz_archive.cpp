#include "tests/fuzz/fuzz_target.h"
#include "train/data/text_file.h"
#include "train/data/unpack.h"

using namespace mmrec;

/// An archive, or compressed data, and the texts in it.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::MemoryFile input;
  input.write(fuzz::text_of(data, size));
  fuzz::accepts([&] {
    for (const DataFile& text :
         unpack({input.path()}, /*all_kinds=*/true, /*skip_bad=*/false, [](int64_t) {}).texts)
      read_text(text, [](std::string_view) {}, [](int64_t) {});
  });
  return 0;
}
