#include "train/corpus.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <system_error>
#include <utility>

#include "runtime/error.h"
#include "runtime/rng.h"
#include "train/split.h"

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
constexpr double kSampleValidation = 0.1;

std::string sample_lines(int begin, int end) {
  const Philox random(kSampleSeed, rng_stream(Stream::kCorpus, 0));
  std::string text;
  for (int line = begin; line < end; ++line) {
    text += kSentences[random.below(static_cast<uint64_t>(line), kSentences.size())];
    text += '\n';
  }
  return text;
}

Corpus load_file(const fs::path& path, double val_split) {
  const Format format = format_of(path);
  Corpus corpus;
  read_corpus(
      {path}, format, val_split, [&](bool validation, std::string_view piece) { (validation ? corpus.validation : corpus.train) += piece; },
      [](int64_t) {});
  if (corpus.train.empty()) fail("{} is empty; give a file with text", path.string());
  if (format == Format::kText) {
    const size_t cut = split_point(corpus.train, val_split);
    corpus.validation = corpus.train.substr(cut);
    corpus.train.resize(cut);
  }
  return corpus;
}

}  // namespace

Format format_of(const fs::path& path) {
  const fs::path name = path.extension() == ".gz" ? path.stem() : path.filename();
  for (const char* extension : {".jsonl", ".ndjson", ".json"})
    if (name.extension() == extension) return Format::kJsonLines;
  return Format::kText;
}

Format common_format(const std::vector<fs::path>& files) {
  const Format format = format_of(files.front());
  for (const fs::path& file : files)
    if (format_of(file) != format)
      fail_usage("{} and {} are of different formats, text and JSON lines; put them into folders of their own, or give --format",
                 files.front().string(), file.string());
  return format;
}

void read_corpus(const std::vector<fs::path>& files, Format format, double val_split,
                 const std::function<void(bool validation, std::string_view piece)>& visit, const ReadObserver& observe) {
  DocumentSplit split(val_split);
  int64_t bytes_before = 0;  // of the files before
  char last = '\n';          // of the text before
  for (const fs::path& file : files) {
    const ReadObserver observe_all = [&](int64_t bytes) { observe(bytes_before + bytes); };
    if (format == Format::kText) {
      if (std::exchange(last, '\n') != '\n') visit(false, "\n");
      read_text(
          file,
          [&](std::string_view piece) {
            visit(false, piece);
            last = piece.back();
          },
          observe_all);
    } else {
      read_json_lines(
          file,
          [&](std::string_view text) {
            if (text.empty()) return;
            const std::string_view end = text.ends_with('\n') ? "\n" : "\n\n";
            const bool validation = split.next(text.size() + end.size());
            visit(validation, text);
            visit(validation, end);
          },
          observe_all);
    }
    bytes_before += static_cast<int64_t>(fs::file_size(file));
  }
}

Corpus load_corpus(std::string_view data, std::optional<double> val_split) {
  if (data == "sample") {
    const int validation_lines = static_cast<int>(std::lround(validation_part(val_split.value_or(kSampleValidation), 0) * kSampleLines));
    return {sample_lines(0, kSampleLines), sample_lines(kSampleLines, kSampleLines + validation_lines)};
  }
  const fs::path path(data);
  std::error_code ignored;  // what cannot be looked at cannot be read either, and then the reason is told
  if (!fs::is_directory(path, ignored)) {
    const uintmax_t bytes = fs::file_size(path, ignored);
    return load_file(path, validation_part(val_split, ignored ? 0 : static_cast<int64_t>(bytes)));
  }
  for (const char* name : {"train.txt", "val.txt"})
    if (!fs::exists(path / name, ignored))
      fail("the directory {} has no {}; make both train.txt and val.txt, for example with 'prepare'", path.string(), name);
  return {load_file(path / "train.txt", 0).train, load_file(path / "val.txt", 0).train};
}

}  // namespace mmrec
