#include "train/corpus.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <system_error>
#include <utility>

#include "runtime/error.h"
#include "runtime/rng.h"
#include "train/atomic_file.h"
#include "train/tokenizer.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;

// With the line's end 64.6 characters on average and nearly of one length, so that the number of windows does not depend on the draw.
constexpr std::array<std::string_view, 10> kSentences = {
    "The river carried small boats past the mill before the sun rose.", "Every morning the baker opens his window and greets the street.",
    "A quiet library keeps more stories than any traveler could tell.", "The old clock in the hall was always seven minutes behind time.",
    "She planted apple trees along the garden for her grandchildren.",  "Rain fell upon the copper roof and woke the cat from its dreams.",
    "Three engineers measured the bridge again and found no mistake.",  "When the lamps went out, we finished our suppers by candlelight.",
    "He wrote a short letter to the farmers who had lent him a horse.", "Winter came early that year and covered the whole harbor in ice.",
};
constexpr int kSampleLines = 1000;
constexpr uint64_t kSampleSeed = 2024;

std::string sample_lines(int begin, int end) {
  const Philox random(kSampleSeed, rng_stream(Stream::kCorpus, 0));
  std::string text;
  for (int line = begin; line < end; ++line) {
    text += kSentences[random.below(static_cast<uint64_t>(line), kSentences.size())];
    text += '\n';
  }
  return text;
}

std::string read_text(const fs::path& path) {
  std::string text = read_file(path);
  if (text.empty()) fail("{} is empty; give a file with text", path.string());
  check_utf8(text, path.string());
  return text;
}

constexpr size_t kShortLine = 200;  // bytes

size_t split_point(std::string_view text, double val_split) {
  if (val_split == 0) return text.size();
  size_t cut = static_cast<size_t>(static_cast<double>(text.size()) * (1 - val_split));
  // A line end far away (a text may be one long line) would leave another split than was asked for.
  const size_t line_end = text.substr(0, cut).rfind('\n');
  if (line_end != text.npos && cut - line_end <= std::max<size_t>(text.size() / 50, kShortLine)) return line_end + 1;
  const auto continues_a_character = [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; };
  while (cut > 0 && continues_a_character(text[cut])) --cut;
  return cut;
}

}  // namespace

Corpus load_corpus(std::string_view data, double val_split) {
  if (!(val_split >= 0 && val_split < 1)) fail_usage("a validation split of {} makes no sense; it must be at least 0 and less than 1", val_split);
  if (data == "sample") {
    const int validation_lines = static_cast<int>(std::lround(val_split * kSampleLines));
    return {sample_lines(0, kSampleLines), sample_lines(kSampleLines, kSampleLines + validation_lines)};
  }
  const fs::path path(data);
  std::error_code ignored;  // what cannot be looked at cannot be read either, and then the reason is told
  if (!fs::is_directory(path, ignored)) {
    std::string train = read_text(path);
    const size_t cut = split_point(train, val_split);
    std::string validation = train.substr(cut);
    train.resize(cut);
    return {std::move(train), std::move(validation)};
  }
  for (const char* name : {"train.txt", "val.txt"})
    if (!fs::exists(path / name, ignored))
      fail("the directory {} has no {}; make both train.txt and val.txt, for example with 'prepare'", path.string(), name);
  return {read_text(path / "train.txt"), read_text(path / "val.txt")};
}

}  // namespace mmrec
