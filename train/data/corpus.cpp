#include "train/data/corpus.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "runtime/rng.h"
#include "support/counted.h"
#include "support/error.h"
#include "support/file_descriptor.h"
#include "support/names.h"
#include "train/data/file_kind.h"
#include "train/data/source_files.h"
#include "train/data/split.h"
#include "train/data/wikipedia.h"

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

Corpus load_file(const fs::path& path, Unpacked texts, double val_split) {
  const Format format = common_format(texts.texts);
  Corpus corpus;
  corpus.facts = read_corpus(
      texts, format, val_split,
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
  corpus.left_out = std::move(texts.left_out);
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
    if (holds(file) && ++count <= kNamed) names += (names.empty() ? "" : ", ") + file.name.string();
  return count > kNamed ? fmt::format("{} and {} more", names, count - kNamed) : names;
}

const char* name_of(Format format) {
  switch (format) {
    case Format::kText:
      return "text";
    case Format::kJsonLines:
      return "JSON lines";
    case Format::kWikipedia:
      break;
  }
  return "Wikipedia's pages";
}

/// Returns the files whose texts are in the corpus. A file that is no text is left out as a whole.
std::vector<FileFacts> files_read(const CorpusFacts& facts) {
  std::vector<FileFacts> files = facts.texts;
  std::erase_if(files, &FileFacts::is_left_out);
  return files;
}

/// Returns ", 2 of them in a.zip, 3 of them compressed (gzip, xz)"; "" if nothing was packed.
std::string describe_packing(const std::vector<FileFacts>& texts,
                             const std::vector<ArchiveFacts>& archives) {
  std::set<std::string_view> compressions;
  int64_t members = 0, compressed = 0;
  for (const FileFacts& text : texts) {
    if (text.is_member) ++members;
    if (text.compression == Packing::kNone) continue;
    ++compressed;
    compressions.insert(name_of(text.compression));
  }
  const bool is_one = texts.size() == 1;
  std::string words;
  std::vector<std::string> unpacked;
  for (const ArchiveFacts& archive : archives)
    if (!archive.is_damaged) unpacked.push_back(archive.name.string());
  if (members > 0 && !is_one)
    words = fmt::format(
        ", {} of them in {}", members,
        unpacked.size() == 1 ? unpacked.front() : fmt::format("{} archives", unpacked.size()));
  if (compressed > 0)
    words += is_one ? fmt::format(", compressed ({})", *compressions.begin())
                    : fmt::format(", {} of them compressed ({})", compressed,
                                  fmt::join(compressions, ", "));
  return words;
}

/// Returns the folder that a pattern begins with, and the rest of it.
std::pair<fs::path, fs::path> divided(const fs::path& pattern) {
  std::pair<fs::path, fs::path> parts;
  for (const fs::path& part : pattern) {
    const bool is_fixed = part.native().find_first_of(kWildcards) == std::string::npos;
    (parts.second.empty() && is_fixed ? parts.first : parts.second) /= part;
  }
  return parts;
}

/// Returns the letters and digits of a pattern, and a hyphen for what is between: "ch-txt" for
/// "ch??/*.txt".
std::string words_of(const fs::path& pattern) {
  std::string words;
  bool is_between = false;
  for (const char c : pattern.native()) {
    const bool is_letter = std::isalnum(static_cast<unsigned char>(c)) || (c & 0x80);
    if (is_letter && is_between && !words.empty()) words += '-';
    if (is_letter) words += c;
    is_between = !is_letter;
  }
  return words;
}

/// Returns the command that makes a folder of files, and the option that reads it.
std::string advice(std::string_view option, const fs::path& files) {
  const std::string name = shell_quoted(folder_to_make(files).string());
  return fmt::format("make one with prepare {} {} --out {} and then give --data {}", option,
                     shell_quoted(files.string()), name, name);
}

/// Throws because a folder is not one for `--data`.
[[noreturn]] void fail_on_folder(const fs::path& folder, std::string_view missing) {
  fail_usage("--data {}: it has no {}, so it is not a folder that prepare made; {}",
             folder.string(), missing, advice("--input-dir", folder));
}

}  // namespace

/// Returns each text's format: a .json beside text is text.
std::vector<Format> formats_of(const std::vector<DataFile>& texts) {
  const bool has_text = std::ranges::count(texts, Format::kText, &DataFile::format) > 0;
  std::vector<Format> formats;
  for (const DataFile& text : texts)
    formats.push_back(has_text && extension_of(text.name) == ".json" ? Format::kText : text.format);
  return formats;
}

Format keep_main_format(Unpacked& corpus) {
  const std::vector<Format> formats = formats_of(corpus.texts);
  std::map<Format, int64_t> bytes;
  for (size_t i = 0; i < formats.size(); ++i) bytes[formats[i]] += size_of(corpus.texts[i]);
  const Format main =
      std::ranges::max_element(bytes, {}, [](const auto& of) { return of.second; })->first;
  std::vector<DataFile> texts;
  for (size_t i = 0; i < formats.size(); ++i)
    (formats[i] == main ? texts : corpus.others).push_back(std::move(corpus.texts[i]));
  corpus.texts = std::move(texts);
  return main;
}

Format common_format(const std::vector<DataFile>& texts) {
  const std::vector<Format> formats = formats_of(texts);
  const Format format = formats.front();
  for (size_t i = 0; i < texts.size(); ++i)
    if (formats[i] != format)
      fail_usage(
          "{} and {} are of different formats, {} and {}; put them into folders of their own and "
          "give each to 'prepare --mix', or say with 'prepare --format' how to read all files",
          texts.front().name.string(), texts[i].name.string(), name_of(format),
          name_of(formats[i]));
  return format;
}

std::string describe(const LeftOut& left_out) {
  return fmt::format("{}{}", kLeftOut, left_out.text());
}

LeftOut skipped_of(const CorpusFacts& facts) {
  LeftOut skipped;
  for (const FileFacts& text : facts.texts) skipped.add(text.skipped);
  return skipped;
}

std::vector<Note> describe(const CorpusFacts& facts, int64_t characters) {
  std::vector<Note> notes;
  const std::vector<FileFacts> texts = files_read(facts);
  const bool is_text = facts.format == Format::kText;
  std::string read = fmt::format(
      "read: {} as {}",
      texts.size() == 1 ? texts.front().name.string() : fmt::format("{} files", texts.size()),
      name_of(facts.format));
  read += describe_packing(texts, facts.archives);
  if (!is_text) read += ": " + counted(facts.documents, "document");
  if (facts.empty_documents > 0)
    read += fmt::format(" and {} without text, left out", facts.empty_documents);
  notes.push_back({fmt::format("{}{} {} characters", read, is_text ? ":" : ",", characters)});
  if (const LeftOut skipped = skipped_of(facts); !skipped.empty())
    notes.push_back({fmt::format("skipped: {}", skipped.text())});

  const auto warn = [&](auto holds, std::string_view what) {
    if (const std::string names = names_of(texts, holds); !names.empty())
      notes.push_back({fmt::format("{}: {}", names, what), Style::kWarning});
  };
  const auto sum = [&](int64_t FileFacts::* number) {
    int64_t result = 0;
    for (const FileFacts& text : texts) result += text.*number;
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

CorpusFacts read_corpus(const Unpacked& corpus, Format format, double val_split,
                        const std::function<void(bool validation, std::string_view piece)>& visit,
                        const ReadObserver& observe, const ReadOptions& options) {
  DocumentSplit split(val_split);
  CorpusFacts facts;
  facts.format = format;
  facts.archives = corpus.archives;
  int64_t bytes_before = 0;  // of the previous files
  char last = '\n';          // last character of the previous file
  const auto visit_document = [&](std::string_view text) {
    ++(text.empty() ? facts.empty_documents : facts.documents);
    if (text.empty()) return;
    const std::string document = std::string(text) + (text.ends_with('\n') ? "\n" : "\n\n");
    visit(split.next(document.size()), document);
  };
  for (const DataFile& file : corpus.texts) {
    const ReadObserver observe_all = [&](int64_t bytes) { observe(bytes_before + bytes); };
    if (FileFacts checked; format == Format::kText && options.skip_bad &&
                           (checked = check_text(file, observe_all)).is_left_out) {
      facts.texts.push_back(std::move(checked));
    } else if (format == Format::kText) {
      if (std::exchange(last, '\n') != '\n') visit(false, "\n");
      facts.texts.push_back(read_text(
          file,
          [&](std::string_view piece) {
            visit(false, piece);
            last = piece.back();
          },
          observe_all));
    } else if (format == Format::kJsonLines) {
      facts.texts.push_back(read_json_lines(file, visit_document, observe_all, options));
    } else {
      facts.texts.push_back(read_wikipedia(file, visit_document, observe_all, options.skip_bad));
    }
    bytes_before += facts.texts.back().bytes;
  }
  for (const DataFile& file : corpus.others)
    facts.texts.push_back(left_out_file(file, "of another format", [](int64_t) {}));
  return facts;
}

fs::path full_path(const fs::path& path) {
  return (fs::absolute(path) / "").lexically_normal().parent_path();
}

fs::path folder_to_make(const fs::path& texts) {
  const fs::path full = full_path(texts);
  const fs::path data = "data";
  if (is_pattern(texts)) {
    const auto [folder, pattern] = divided(full);
    const std::string name = folder.filename().string(), words = words_of(pattern);
    return data /
           fmt::format("{}-{}", name.empty() ? "texts" : name, words.empty() ? "all" : words);
  }
  const std::string name = full.has_filename() ? full.filename().string() : "texts";
  return data / (full.parent_path().filename() == data ? name + "-prepared" : name);  // not itself
}

Corpus load_corpus(std::string_view data, std::optional<double> val_split) {
  if (data == "sample") {
    const int validation_lines = static_cast<int>(
        std::lround(validation_part(val_split.value_or(kSampleValidation), 0) * kSampleLines));
    return {sample_lines(0, kSampleLines),
            sample_lines(kSampleLines, kSampleLines + validation_lines)};
  }
  if (data == "-")
    fail_usage(
        "--data -: a text is read again when a run goes on, which standard input cannot be; make a "
        "folder of it with 'prepare --input-file -'");
  const fs::path path(data);
  std::error_code ignored;  // inaccessible: reading it later reports the reason
  if (is_pattern(path))
    fail_usage(
        "--data {}: a pattern stands for several files, and --data takes a file or a folder; {}",
        data, advice("--input-file", path));
  if (!fs::is_directory(path, ignored)) {
    const uintmax_t bytes = fs::file_size(path, ignored);
    Unpacked texts = unpack({path}, /*all_kinds=*/false, /*skip_bad=*/false, [](int64_t) {});
    if (texts.texts.empty())
      fail("{}: there are no texts in it, but {}", path.string(), texts.left_out.text());
    return load_file(path, std::move(texts),
                     validation_part(val_split, ignored ? 0 : static_cast<int64_t>(bytes)));
  }
  for (const char* name : {"train.txt", "val.txt"})
    if (kind_of_file(path / name) == fs::file_type::not_found) fail_on_folder(path, name);
  const auto part = [&](const char* name) {
    return load_file(path / name, {.texts = {path / name}}, 0);
  };
  Corpus corpus = part("train.txt"), validation = part("val.txt");
  corpus.validation = std::move(validation.train);
  corpus.facts.texts.push_back(std::move(validation.facts.texts.front()));
  corpus.asked.reset();
  return corpus;
}

}  // namespace mmrec
