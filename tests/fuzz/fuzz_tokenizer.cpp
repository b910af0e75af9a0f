#include <algorithm>
#include <vector>

#include "tests/fuzz/fuzz_target.h"
#include "train/data/tokenizer.h"

using namespace mmrec;

/// tokenizer.json; after a zero byte, a text to encode.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::MemoryFile input;
  const std::string_view all = fuzz::text_of(data, size), file = all.substr(0, all.find('\0')),
                         text = all.substr(std::min(file.size() + 1, size));
  input.write(file);
  fuzz::accepts([&] {
    const Tokenizer tokenizer = Tokenizer::load(input.path());
    for (int32_t id = 2; id < tokenizer.size(); ++id)
      fuzz::require(tokenizer.encode(tokenizer.decode(id), "a token") == std::vector{id},
                    "each token is a character and only that");
    CharacterCounts counts;
    count_characters(text, "text", counts);
    tokenizer.decode(tokenizer.encode(text, "text"));
    const Tokenizer extended = tokenizer.extended(counts);
    fuzz::require(extended.decode(extended.encode(text, "text")) == text,
                  "what has a token survives being encoded and decoded");
  });
  return 0;
}
