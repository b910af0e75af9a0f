#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/utf8_reference.h"
#include "train/data/tokenizer.h"

using namespace mmrec;

/// A text, and the tokenizer made from it.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  const size_t valid = fuzz::valid_bytes(text);
  try {
    check_utf8(text, "input");
    fuzz::require(valid == size, "what is no UTF-8 is refused");
  } catch (const Error& error) {
    fuzz::require(std::string_view(error.what()).starts_with(fmt::format("input: byte {} ", valid)),
                  "the error names the first byte that is not UTF-8");
  }
  const std::string_view characters = text.substr(0, valid);
  CharacterCounts counts;
  count_characters(characters, "input", counts);
  const Tokenizer tokenizer(counts), none((CharacterCounts()));
  fuzz::require(tokenizer.decode(tokenizer.encode(characters, "input")) == characters,
                "a text survives being encoded and decoded");
  fuzz::require(none.extended(counts) == tokenizer,
                "an empty tokenizer is extended to the one made at once");
  fuzz::require(describe_unknown(tokenizer, counts).empty(), "nothing is unknown");
  describe_unknown(none, counts);
  return 0;
}
