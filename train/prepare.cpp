#include "train/prepare.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "runtime/error.h"
#include "train/atomic_file.h"
#include "train/byte_progress.h"
#include "train/checksum.h"
#include "train/file_descriptor.h"
#include "train/mapped_file.h"
#include "train/split.h"
#include "train/token_file.h"
#include "train/tokenizer.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using CheckStop = std::function<void()>;

constexpr const char* kManifest = "manifest.json";
constexpr const char* kFiles[] = {"train.txt", "val.txt", "tokenizer.json", "train.tokens", "val.tokens"};
constexpr size_t kBuffer = size_t{1} << 20;  // bytes written at once

/// A ByteProgress and the question whether to stop, for those who say how far they are.
class Watch {
 public:
  Watch(Console& console, const CheckStop& check_stop, std::string what, int64_t total)
      : progress_(console, std::move(what), total), check_stop_(check_stop) {}
  void operator()(int64_t bytes) {
    check_stop_();
    progress_.update(bytes);
  }

 private:
  ByteProgress progress_;
  const CheckStop& check_stop_;
};

/// A part's text on its way to the disk.
class TextWriter {
 public:
  TextWriter(const fs::path& path, CharacterCounts& counts) : file_("write", path, O_WRONLY | O_CREAT | O_EXCL), counts_(counts) {}

  /// Pieces end between characters.
  void append(std::string_view piece) {
    buffer_ += piece;
    if (buffer_.size() >= kBuffer) write_out();
  }
  void write_out() {
    count_characters(buffer_, "the text", counts_);
    file_.write(std::as_bytes(std::span(buffer_)));
    bytes_ += static_cast<int64_t>(buffer_.size());
    buffer_.clear();
  }
  /// The last bytes become the beginning of another part.
  void move_end(const fs::path& own_path, double val_split, TextWriter& to, Watch& watch) {
    MappedFile file(own_path);
    const int64_t cut = static_cast<int64_t>(split_point(file.text(), val_split));
    for (int64_t place = cut; place < file.size();) {
      const int64_t piece = std::min<int64_t>(kBuffer, file.size() - place);
      to.file_.write({file.data() + place, static_cast<size_t>(piece)});
      file.count_read(piece);
      place += piece;
      watch(place - cut);
    }
    to.bytes_ = file.size() - cut;
    bytes_ = cut;
    file_.truncate(cut);
  }
  void flush() const { file_.flush(); }
  int64_t bytes() const { return bytes_; }

 private:
  FileDescriptor file_;
  CharacterCounts& counts_;
  std::string buffer_;
  int64_t bytes_ = 0;  // written
};

/// [{"name", "bytes", "sha256"}, ..]
Json describe_files(const std::vector<fs::path>& files, const fs::path& relative_to, Watch& watch) {
  Json list = Json::array();
  int64_t bytes_before = 0;
  for (const fs::path& file : files) {
    const int64_t bytes = static_cast<int64_t>(fs::file_size(file));
    const std::string sha256 = sha256_of_file(file, [&](int64_t read) { watch(bytes_before + read); });
    list.push_back({{"name", file.lexically_relative(relative_to).generic_string()}, {"bytes", bytes}, {"sha256", sha256}});
    bytes_before += bytes;
  }
  return list;
}

int64_t total_bytes(const std::vector<fs::path>& files) {
  int64_t total = 0;
  for (const fs::path& file : files) {
    if (!fs::exists(file)) fail_on_file("read", file, ENOENT);
    if (!fs::is_regular_file(file)) fail("cannot read {}: it is not a regular file", file.string());
    total += static_cast<int64_t>(fs::file_size(file));
  }
  return total;
}

std::vector<fs::path> result_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const char* name : kFiles) files.push_back(folder / name);
  return files;
}

/// The deepest folder that all files are in.
fs::path common_folder(const std::vector<fs::path>& files) {
  fs::path folder = files.front().parent_path();
  for (const fs::path& file : files)
    while (!folder.empty() && *file.lexically_relative(folder).begin() == "..") folder = folder.parent_path();
  return folder;
}

std::string describe_rule(const PrepareOptions& options, double val_split) {
  if (val_split == 0) return "no validation text";
  if (options.format == Format::kText) return "validation is the end of the text, from the beginning of a line if one is near, else of a character";
  return "a document is for validation if less than val_split of the bytes before it are";
}

/// All that decides what comes out; of two equal ones the same does.
Json describe_inputs(const PrepareOptions& options, double val_split, int64_t bytes, Console& console, const CheckStop& check_stop) {
  Watch watch(console, check_stop, "checking", bytes);
  return {{"version", 1},
          {"format", options.format == Format::kText ? "text" : "jsonl"},
          {"tokenizer", "char"},
          {"vocab", options.vocabulary == 0 ? Json("auto") : Json(options.vocabulary)},
          {"val_split", val_split},
          {"split_rule", describe_rule(options, val_split)},
          {"files", describe_files(options.files, common_folder(options.files), watch)}};
}

/// The manifest of a folder that holds, unchanged, what would be made of the inputs; null if it does not.
Json find_made(const fs::path& out, const Json& inputs, Console& console, const CheckStop& check_stop) {
  if (!fs::exists(out / kManifest)) return nullptr;
  try {
    Json manifest = Json::parse(read_file(out / kManifest));
    const std::vector<fs::path> files = result_files(out);
    if (manifest.at("inputs") != inputs || !std::ranges::all_of(files, [](const fs::path& file) { return fs::is_regular_file(file); }))
      return nullptr;
    Watch watch(console, check_stop, "checking the result", total_bytes(files));
    return manifest.at("files") == describe_files(files, out, watch) ? manifest : nullptr;
  } catch (const Json::exception&) {  // no manifest of ours
    return nullptr;
  }
}

/// A folder of other things must not take part in what follows, and better now than after an hour.
void check_is_ours(const fs::path& out) {
  if (!fs::exists(out)) return;
  if (!fs::is_directory(out)) fail("cannot write {}: it exists and is not a directory", out.string());
  for (const fs::directory_entry& entry : fs::directory_iterator(out))
    if (const std::string name = entry.path().filename().string(); name != kManifest && std::ranges::find(kFiles, name) == std::end(kFiles))
      fail_usage("--out {}: it holds other files ('{}'); choose a new folder", out.string(), name);
}

/// Returns the number of tokens.
int64_t write_tokens(const fs::path& folder, const std::string& part, const Tokenizer& tokenizer, int64_t text_bytes, int64_t bytes_before,
                     Watch& watch) {
  TokenFileWriter writer(folder / (part + ".tokens"), tokenizer.size());
  int64_t count = 0;
  read_text(
      folder / (part + ".txt"),
      [&](std::string_view piece) {
        const std::vector<int32_t> ids = tokenizer.encode(piece, part);
        writer.append(ids);
        count += static_cast<int64_t>(ids.size());
      },
      [&](int64_t bytes) { watch(bytes_before + bytes); });
  writer.finish({.vocabulary = tokenizer.size(), .tokenizer_crc32 = crc32_of(read_file(folder / "tokenizer.json")), .text_bytes = text_bytes});
  return count;
}

/// Writes everything but the manifest and returns what there is to say about it.
Json write_results(const PrepareOptions& options, double val_split, int64_t source_bytes, const fs::path& folder, Console& console,
                   const CheckStop& check_stop) {
  CharacterCounts counts;
  TextWriter train(folder / "train.txt", counts), validation(folder / "val.txt", counts);
  {
    Watch watch(console, check_stop, "reading", source_bytes);
    read_corpus(
        options.files, options.format, val_split,
        [&](bool is_validation, std::string_view piece) { (is_validation ? validation : train).append(piece); },
        [&](int64_t bytes) { watch(bytes); });
  }
  train.write_out();
  validation.write_out();
  if (train.bytes() == 0) fail("{}: there is no text in it", options.source);
  if (options.format == Format::kText) {
    Watch watch(console, check_stop, "splitting", 0);
    train.move_end(folder / "train.txt", val_split, validation, watch);
    if (train.bytes() == 0) fail("{}: it is too short to be divided; with --val-split 0 all of it is for training", options.source);
  }
  train.flush();
  validation.flush();

  const Tokenizer tokenizer(counts, options.vocabulary);
  tokenizer.save(folder / "tokenizer.json");
  if (const std::string unknown = describe_unknown(tokenizer, counts); !unknown.empty()) console.line(unknown, Style::kWarning);
  Watch watch(console, check_stop, "writing tokens", train.bytes() + validation.bytes());
  const int64_t train_tokens = write_tokens(folder, "train", tokenizer, train.bytes(), 0, watch);
  const int64_t validation_tokens = write_tokens(folder, "val", tokenizer, validation.bytes(), train.bytes(), watch);
  return {{"vocabulary", tokenizer.size()}, {"characters", counts.size()}, {"train_tokens", train_tokens}, {"val_tokens", validation_tokens}};
}

}  // namespace

std::vector<fs::path> corpus_files(const fs::path& directory, bool all_kinds, const fs::path& result) {
  static const std::set<std::string> kExtensions = {".txt", ".text", ".md", ".jsonl", ".ndjson", ".json"};
  const auto is_of_result = within(result);
  const bool is_below = !is_of_result(directory);
  std::vector<fs::path> files;
  size_t others = 0;
  for (auto entry = fs::recursive_directory_iterator(directory); entry != fs::recursive_directory_iterator(); ++entry) {
    const fs::path& path = entry->path();
    // Of what is in a folder only links can lead elsewhere than the folder.
    const bool may_be_of_result = is_below && (entry->is_directory() || entry->is_symlink());
    if (path.filename().string().starts_with('.') || (may_be_of_result && is_of_result(path))) {
      entry.disable_recursion_pending();
    } else if (entry->is_regular_file()) {
      const fs::path name = path.extension() == ".gz" ? path.stem() : path.filename();
      if (all_kinds || kExtensions.contains(name.extension().string()))
        files.push_back(path);
      else
        ++others;
    }
  }
  if (files.empty())
    fail_usage("--input-dir {}: there are no files of text or JSON lines ({} of other kinds); --format takes all as what it says", directory.string(),
               others);
  std::ranges::sort(files, {}, [](const fs::path& path) { return path.native(); });
  return files;
}

Json prepare(const PrepareOptions& options, Console& console, const CheckStop& check_stop) {
  const auto is_of_result = within(options.out);
  for (const fs::path& file : options.files)
    if (is_of_result(file))
      fail_usage("{}: it is in --out {}, whose files make place for new ones; choose another --out", file.string(), options.out.string());
  const int64_t bytes = total_bytes(options.files);
  const double val_split = validation_part(options.val_split, bytes);
  check_is_ours(options.out);
  for (const fs::path& left : remove_abandoned(options.out))
    console.line(fmt::format("tidied up {}, which a prepare that was killed had left", left.string()));
  const Json inputs = describe_inputs(options, val_split, bytes, console, check_stop);
  if (Json made = find_made(options.out, inputs, console, check_stop); !made.is_null()) {
    console.line(fmt::format("{} is up to date", options.out.string()), Style::kHeading);
    return made;
  }

  Json manifest = {{"source", options.source}, {"inputs", inputs}};
  if (options.out.has_parent_path()) make_directory(options.out.parent_path());
  write_directory_atomically(options.out, [&](const PathAt& partial) {
    const fs::path& folder = partial.path();
    manifest["results"] = write_results(options, val_split, bytes, folder, console, check_stop);
    const std::vector<fs::path> files = result_files(folder);
    Watch watch(console, check_stop, "checking the result", total_bytes(files));
    manifest["files"] = describe_files(files, folder, watch);
    write_file_atomically(folder / kManifest, manifest.dump(2) + "\n");
  });
  const Json& results = manifest["results"];
  console.line(fmt::format("{}: {} characters for training, {} for validation, {} tokens in the vocabulary", options.out.string(),
                           results["train_tokens"].get<int64_t>(), results["val_tokens"].get<int64_t>(), results["vocabulary"].get<int>()),
               Style::kHeading);
  if (val_split > 0 && results["val_tokens"] == 0) console.line("the text is too short to be divided: there is no validation text", Style::kWarning);
  return manifest;
}

}  // namespace mmrec
