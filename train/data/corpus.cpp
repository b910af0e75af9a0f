#include "train/data/corpus.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <system_error>
#include <utility>

#include "runtime/rng.h"
#include "support/error.h"
#include "support/file_descriptor.h"
#include "train/data/file_kind.h"
#include "train/data/split.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;

// Average length 64.6 characters with the line end. All lengths are similar, so the number of
// windows does not depend on the draw.
constexpr std::array<std::string_view, 10> kSentences = {
    "The river carried small boats past the mill before the sun rose.",
    "Every morning the baker opens his window and greets the street.",
    "A quiet library keeps more stories than any traveler could tell.",
    "The old clock in the hall was always seven minutes behind time.",
    "She planted apple trees along the garden for her grandchildren.",
    "Rain fell upon the copper roof and woke the cat from its dreams.",
    "Three engineers measured the bridge again and found no mistake.",
    "When the lamps went out, we finished our suppers by candlelight.",
    "He wrote a short letter to the farmers who had lent him a horse.",
    "Winter came early that year and covered the whole harbor in ice.",
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
  corpus.facts = read_corpus(
      {path}, format, val_split,
      [&](bool validation, std::string_view piece) {
        (validation ? corpus.validation : corpus.train) += piece;
      },
      [](int64_t) {});
  if (corpus.train.empty()) fail("{} is empty; give a file with text", path.string());
  if (format == Format::kText) {
    const size_t cut = split_point(corpus.train, val_split);
    corpus.validation = corpus.train.substr(cut);
    corpus.train.resize(cut);
  }
  corpus.asked = val_split;
  return corpus;
}

/// Returns "a.txt, b.txt, c.txt and 7 more" for the files that satisfy `holds`; "" if there are
/// none.
template <class Holds>
std::string names_of(const std::vector<FileFacts>& files, Holds holds) {
  constexpr int kNamed = 3;
  std::string names;
  int count = 0;
  for (const FileFacts& file : files)
    if (holds(file) && ++count <= kNamed) names += (names.empty() ? "" : ", ") + file.path.string();
  return count > kNamed ? fmt::format("{} and {} more", names, count - kNamed) : names;
}

}  // namespace

Format format_of(const fs::path& path) {
  const std::string extension = extension_of(path);
  for (const char* of_lines : {".jsonl", ".jsonlines", ".ndjson", ".json"})
    if (extension == of_lines) return Format::kJsonLines;
  return Format::kText;
}

Format common_format(const std::vector<fs::path>& files) {
  const Format format = format_of(files.front());
  for (const fs::path& file : files)
    if (format_of(file) != format)
      fail_usage(
          "{} and {} are of different formats, text and JSON lines; put them into folders of their "
          "own, or give --format",
          files.front().string(), file.string());
  return format;
}

std::vector<Note> describe(const CorpusFacts& facts, int64_t characters) {
  std::vector<Note> notes;
  const std::vector<FileFacts>& files = facts.files;
  const bool is_text = facts.format == Format::kText;
  const auto compressed = std::ranges::count(files, true, &FileFacts::is_compressed);
  std::string read = fmt::format(
      "read: {} as {}",
      files.size() == 1 ? files.front().path.string() : fmt::format("{} files", files.size()),
      is_text ? "text" : "JSON lines");
  if (compressed > 0)
    read += files.size() == 1 ? ", compressed" : fmt::format(", {} of them compressed", compressed);
  if (!is_text) read += fmt::format(": {} documents", facts.documents);
  if (facts.empty_documents > 0)
    read += fmt::format(" and {} without text, left out", facts.empty_documents);
  notes.push_back({fmt::format("{}{} {} characters", read, is_text ? ":" : ",", characters)});

  const auto warn = [&](auto holds, std::string_view what) {
    if (const std::string names = names_of(files, holds); !names.empty())
      notes.push_back({fmt::format("{}: {}", names, what), Style::kWarning});
  };
  const auto sum = [&](int64_t FileFacts::*number) {
    int64_t result = 0;
    for (const FileFacts& file : files) result += file.*number;
    return result;
  };
  warn([](const FileFacts& file) { return file.was_changed; },
       "written to while it was read; repeat this when it is complete");
  warn([](const FileFacts& file) { return file.has_json; },
       "its lines are JSON objects, all read as text; for the documents in them call it .jsonl, or "
       "use prepare --format jsonl");
  warn([](const FileFacts& file) { return file.is_html; },
       "an HTML page, by its beginning, and read as text with all its tags; is it the right file?");
  warn([](const FileFacts& file) { return file.zeros > 0; },
       fmt::format("NUL characters ({}); is it a text?", sum(&FileFacts::zeros)));
  warn([](const FileFacts& file) { return file.replaced > 0; },
       fmt::format("half a UTF-16 pair (\\ud800 to \\udfff alone) in {} documents, read as U+FFFD",
                   sum(&FileFacts::replaced)));
  return notes;
}

CorpusFacts read_corpus(const std::vector<fs::path>& files, Format format, double val_split,
                        const std::function<void(bool validation, std::string_view piece)>& visit,
                        const ReadObserver& observe) {
  DocumentSplit split(val_split);
  CorpusFacts facts;
  facts.format = format;
  int64_t bytes_before = 0;  // of the previous files
  char last = '\n';          // last character of the previous file
  for (const fs::path& file : files) {
    const ReadObserver observe_all = [&](int64_t bytes) { observe(bytes_before + bytes); };
    if (format == Format::kText) {
      if (std::exchange(last, '\n') != '\n') visit(false, "\n");
      facts.files.push_back(read_text(
          file,
          [&](std::string_view piece) {
            visit(false, piece);
            last = piece.back();
          },
          observe_all));
    } else {
      facts.files.push_back(read_json_lines(
          file,
          [&](std::string_view text) {
            ++(text.empty() ? facts.empty_documents : facts.documents);
            if (text.empty()) return;
            const std::string_view end = text.ends_with('\n') ? "\n" : "\n\n";
            const bool validation = split.next(text.size() + end.size());
            visit(validation, text);
            visit(validation, end);
          },
          observe_all));
    }
    bytes_before += facts.files.back().bytes;
  }
  return facts;
}

Corpus load_corpus(std::string_view data, std::optional<double> val_split) {
  if (data == "sample") {
    const int validation_lines = static_cast<int>(
        std::lround(validation_part(val_split.value_or(kSampleValidation), 0) * kSampleLines));
    return {sample_lines(0, kSampleLines),
            sample_lines(kSampleLines, kSampleLines + validation_lines)};
  }
  const fs::path path(data);
  std::error_code ignored;  // inaccessible: reading it later reports the reason
  if (!fs::is_directory(path, ignored)) {
    const uintmax_t bytes = fs::file_size(path, ignored);
    return load_file(path, validation_part(val_split, ignored ? 0 : static_cast<int64_t>(bytes)));
  }
  for (const char* name : {"train.txt", "val.txt"})
    if (kind_of_file(path / name) == fs::file_type::not_found)
      fail(
          "the directory {} has no {}; make both train.txt and val.txt, for example with 'prepare'",
          path.string(), name);
  Corpus corpus = load_file(path / "train.txt", 0), validation = load_file(path / "val.txt", 0);
  corpus.validation = std::move(validation.train);
  corpus.facts.files.push_back(std::move(validation.facts.files.front()));
  corpus.asked.reset();
  return corpus;
}

}  // namespace mmrec
