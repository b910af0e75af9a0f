#include "train/data/prepare.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "support/atomic_file.h"
#include "support/byte_progress.h"
#include "support/checksum.h"
#include "support/error.h"
#include "support/file_descriptor.h"
#include "support/names.h"
#include "train/data/file_kind.h"
#include "train/data/sha256.h"
#include "train/data/split.h"
#include "train/data/token_file.h"
#include "train/data/tokenizer.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using CheckStop = std::function<void()>;

constexpr const char* kManifest = "manifest.json";
constexpr std::string_view kLeftOut = "left out: ";  // prefix of the summary's line
constexpr const char* kFiles[] = {"train.txt", "val.txt", "tokenizer.json", "train.tokens",
                                  "val.tokens"};
constexpr size_t kBuffer = size_t{1} << 20;  // bytes written at once

/// Progress callback that also checks for a stop.
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

/// Writes the text of one part (training or validation) to disk and counts its characters.
class TextWriter {
 public:
  TextWriter(const fs::path& path, CharacterCounts& counts)
      : path_(path), file_("write", path, O_RDWR | O_CREAT | O_EXCL), counts_(counts) {}

  /// `piece` must end between characters.
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
  /// Moves the end of this text to the beginning of another part.
  void move_end(double val_split, TextWriter& to, Watch& watch) {
    const auto text_at = [&](int64_t first, int64_t count) {
      std::string text(static_cast<size_t>(count), '\0');
      text.resize(file_.read_at(first, std::as_writable_bytes(std::span(text))));
      return text;
    };
    const int64_t cut = split_point(bytes_, val_split, text_at);
    for (int64_t place = cut; place < bytes_;) {
      const std::string piece = text_at(place, std::min<int64_t>(kBuffer, bytes_ - place));
      if (piece.empty())
        fail("{}: it became shorter while it was written; is another program at work on it?",
             path_.string());
      to.file_.write(std::as_bytes(std::span(piece)));
      place += static_cast<int64_t>(piece.size());
      watch(place - cut);
    }
    to.bytes_ = bytes_ - cut;
    bytes_ = cut;
    file_.truncate(cut);
  }
  void flush() const { file_.flush(); }
  int64_t bytes() const { return bytes_; }

 private:
  fs::path path_;
  FileDescriptor file_;
  CharacterCounts& counts_;
  std::string buffer_;
  int64_t bytes_ = 0;  // bytes written
};

Json describe_file(const fs::path& file, const fs::path& relative_to, int64_t bytes,
                   const std::string& sha256) {
  return {{"name", text_of_name(file.lexically_relative(relative_to).generic_string())},
          {"bytes", bytes},
          {"sha256", sha256}};
}

/// [{"name", "bytes", "sha256"}, ..]
Json describe_files(const std::vector<fs::path>& files, const fs::path& relative_to, Watch& watch) {
  Json list = Json::array();
  int64_t bytes_before = 0;
  for (const fs::path& file : files) {
    int64_t bytes = 0;
    const std::string sha256 =
        sha256_of_file(file, [&](int64_t read) { watch(bytes_before + (bytes = read)); });
    list.push_back(describe_file(file, relative_to, bytes, sha256));
    bytes_before += bytes;
  }
  return list;
}

int64_t total_bytes(const std::vector<fs::path>& files) {
  int64_t total = 0;
  for (const fs::path& file : files) {
    const fs::file_type kind = kind_of_file(file);
    if (kind == fs::file_type::not_found) fail_on_file("read", file, ENOENT);
    if (kind != fs::file_type::regular)
      fail("cannot read {}: it is not a regular file", file.string());
    std::error_code error;
    total += static_cast<int64_t>(fs::file_size(file, error));
    if (error) fail_on_file("read", file, error.value());
  }
  return total;
}

std::vector<fs::directory_entry> entries_of(const fs::path& folder) {
  std::vector<fs::directory_entry> entries;
  std::error_code error;
  for (auto entry = fs::directory_iterator(folder, error);
       !error && entry != fs::directory_iterator(); entry.increment(error))
    entries.push_back(*entry);
  if (error) fail_on_file("read", folder, error.value());
  std::ranges::sort(entries);
  return entries;
}

std::vector<fs::path> result_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const char* name : kFiles) files.push_back(folder / name);
  return files;
}

/// Returns the deepest folder that contains all files.
fs::path common_folder(const std::vector<fs::path>& files) {
  fs::path folder = files.front().parent_path();
  for (const fs::path& file : files)
    while (!folder.empty() && *file.lexically_relative(folder).begin() == "..")
      folder = folder.parent_path();
  return folder;
}

std::string describe_rule(const PrepareOptions& options, double val_split) {
  if (val_split == 0) return "no validation text";
  if (options.format == Format::kText)
    return "validation is the end of the text, from the beginning of a line if one is near, else "
           "of a character";
  return "a document but for the first is for validation if that brings the part of the bytes that "
         "are nearer to val_split";
}

/// Together with the files, this determines the result completely: equal inputs give equal results.
Json describe_inputs(const PrepareOptions& options, double val_split) {
  return {{"version", 2},
          {"format", options.format == Format::kText ? "text" : "jsonl"},
          {"tokenizer", "char"},
          {"vocab", options.vocabulary == 0 ? Json("auto") : Json(options.vocabulary)},
          {"val_split", val_split},
          {"split_rule", describe_rule(options, val_split)}};
}

/// Returns the manifest of a folder that holds, unchanged, the result of these inputs and files;
/// null if it does not.
Json find_made(const PrepareOptions& options, Json inputs, int64_t bytes, Console& console,
               const CheckStop& check_stop) {
  const fs::path& out = options.out;
  if (kind_of_file(out / kManifest) == fs::file_type::not_found) return nullptr;
  try {
    Json manifest = Json::parse(read_file(out / kManifest));
    const Json& made_of = manifest.at("inputs");
    inputs["files"] = made_of.at("files");
    const std::vector<fs::path> results = result_files(out);
    if (made_of != inputs || !std::ranges::all_of(results, [](const fs::path& file) {
          return kind_of_file(file) == fs::file_type::regular;
        }))
      return nullptr;
    Watch watch(console, check_stop, "checking", bytes + total_bytes(results));
    if (made_of.at("files") != describe_files(options.files, common_folder(options.files), watch))
      return nullptr;
    return manifest.at("files") == describe_files(results, out, watch) ? manifest : nullptr;
  } catch (const Json::exception&) {  // not our manifest
    return nullptr;
  }
}

/// Replaces the remarks in a stored summary: other files may be left out now.
void renew_remarks(Json& summary, const std::vector<Note>& remarks) {
  Json now = Json::array();
  for (const Json& line : summary)
    if (line.is_string() && !line.get<std::string>().starts_with(kLeftOut)) now.push_back(line);
  for (const Note& note : remarks)
    if (const Json line = visible(note.text); std::ranges::find(now, line) == now.end())
      now.push_back(line);
  summary = std::move(now);
}

/// Throws if a folder holds foreign files: they must not be replaced. Checked now rather than after
/// an hour of work.
void check_is_ours(const fs::path& out) {
  const fs::file_type kind = kind_of_file(out);
  if (kind == fs::file_type::not_found) return;
  if (kind != fs::file_type::directory)
    fail("cannot write {}: it exists and is not a directory", out.string());
  for (const std::string& name : names_in(out))
    if (name != kManifest && std::ranges::find(kFiles, name) == std::end(kFiles))
      fail_usage("--out {}: it holds other files ('{}'); choose a new folder", out.string(), name);
}

/// Writes a part's token file. Returns the number of tokens.
int64_t write_tokens(const fs::path& folder, const std::string& part, const Tokenizer& tokenizer,
                     int64_t text_bytes, int64_t bytes_before, Watch& watch) {
  TokenFileWriter writer(folder / (part + ".tokens"), tokenizer.size());
  int64_t count = 0;
  read_own_text(
      folder / (part + ".txt"),
      [&](std::string_view piece) {
        const std::vector<int32_t> ids = tokenizer.encode(piece, part);
        writer.append(ids);
        count += static_cast<int64_t>(ids.size());
      },
      [&](int64_t bytes) { watch(bytes_before + bytes); });
  writer.finish({.vocabulary = tokenizer.size(),
                 .tokenizer_crc32 = crc32_of(read_file(folder / "tokenizer.json")),
                 .text_bytes = text_bytes});
  return count;
}

/// Writes all files except the manifest; fills in the manifest.
void write_results(const PrepareOptions& options, double val_split, int64_t source_bytes,
                   const fs::path& folder, Json& manifest, Console& console,
                   const CheckStop& check_stop) {
  CharacterCounts counts;
  TextWriter train(folder / "train.txt", counts), validation(folder / "val.txt", counts);
  CorpusFacts facts;
  {
    Watch watch(console, check_stop, "reading", source_bytes);
    facts = read_corpus(
        options.files, options.format, val_split,
        [&](bool is_validation, std::string_view piece) {
          (is_validation ? validation : train).append(piece);
        },
        [&](int64_t bytes) { watch(bytes); });
  }
  train.write_out();
  validation.write_out();
  if (train.bytes() == 0) fail("{}: there is no text in it", options.source);
  if (options.format == Format::kText) {
    Watch watch(console, check_stop, "splitting", 0);
    train.move_end(val_split, validation, watch);
    if (train.bytes() == 0)
      fail("{}: it is too short to be divided; with --val-split 0 all of it is for training",
           options.source);
  }
  train.flush();
  validation.flush();

  const Tokenizer tokenizer(counts, options.vocabulary);
  tokenizer.save(folder / "tokenizer.json");
  Json& results = manifest["results"];
  {
    Watch watch(console, check_stop, "writing tokens", train.bytes() + validation.bytes());
    const int64_t train_tokens = write_tokens(folder, "train", tokenizer, train.bytes(), 0, watch);
    const int64_t validation_tokens =
        write_tokens(folder, "val", tokenizer, validation.bytes(), train.bytes(), watch);
    results = {{"vocabulary", tokenizer.size()},
               {"characters", counts.size()},
               {"train_tokens", train_tokens},
               {"val_tokens", validation_tokens}};
    if (options.format == Format::kJsonLines) results["documents"] = facts.documents;
  }

  const fs::path sources = common_folder(options.files);
  Json& list = manifest["inputs"]["files"] = Json::array();
  for (const FileFacts& file : facts.files)
    list.push_back(describe_file(file.path, sources, file.bytes, file.sha256));
  std::vector<Note> notes = describe(
      facts, results["train_tokens"].get<int64_t>() + results["val_tokens"].get<int64_t>());
  notes.insert(notes.end(), options.remarks.begin(), options.remarks.end());
  notes.push_back(describe_split(val_split, train.bytes(), validation.bytes()));
  if (const std::string unknown = describe_unknown(tokenizer, counts); !unknown.empty())
    notes.push_back({unknown, Style::kWarning});
  Json& summary = manifest["summary"] = Json::array();
  for (const Note& note : notes) {
    console.line(note.text, note.style);
    summary.push_back(visible(note.text));
  }
}

/// The files below a folder, and those left out.
class Collection {
 public:
  Collection(const fs::path& directory, bool all_kinds, const fs::path& result)
      : all_kinds_(all_kinds), is_of_result_(within(result)), is_below_(!is_of_result_(directory)) {
    add_folder(directory);
    std::ranges::sort(files, {}, [](const fs::path& path) { return path.native(); });
  }

  std::vector<fs::path> files;

  /// Describes the files left out; "" if none.
  std::string left_out() const {
    std::string text;
    for (const auto& [kind, names] : left_out_)
      text += fmt::format("{}{} {} ({}{})", text.empty() ? "" : "; ", names.count, kind,
                          names.first, names.count > kNamed ? ", .." : "");
    return text;
  }

 private:
  static constexpr int kNamed = 3;
  struct Names {
    int64_t count = 0;
    std::string first;
  };

  void add_folder(const fs::path& folder) {
    for (const fs::directory_entry& entry : entries_of(folder)) add_entry(entry);
  }
  void add_entry(const fs::directory_entry& entry) {
    const fs::path& path = entry.path();
    std::error_code error;
    const bool is_link = entry.is_symlink(error);
    const fs::file_type kind = entry.status(error).type();
    if (error && !is_link) fail_on_file("read", path, error.value());
    const bool is_folder = kind == fs::file_type::directory;
    if (path.filename().string().starts_with('.')) return leave_out("hidden", path);
    if (is_leftover(path)) return leave_out("left by another prepare", path);
    if (is_folder && is_link) return leave_out("by a link to a folder", path);
    // Inside a folder only links can lead outside of it.
    if (is_below_ && (is_folder || is_link) && is_of_result_(path))
      return leave_out("of --out", path);
    if (is_folder) return add_folder(path);
    if (is_link && kind != fs::file_type::regular) return leave_out("by a link to no file", path);
    static const std::set<std::string> kExtensions = {".txt",       ".text",   ".md",  ".jsonl",
                                                      ".jsonlines", ".ndjson", ".json"};
    if (kind != fs::file_type::regular || !(all_kinds_ || kExtensions.contains(extension_of(path))))
      return leave_out("of other kinds", path);
    files.push_back(path);
  }
  void leave_out(const char* kind, const fs::path& path) {
    Names& names = left_out_[kind];
    if (++names.count <= kNamed) names.first += (names.first.empty() ? "" : ", ") + path.string();
  }

  bool all_kinds_;
  std::function<bool(const fs::path&)> is_of_result_;
  bool is_below_;  // the directory is not inside the result: only links and folders can lead there
  std::map<std::string, Names> left_out_;
};

}  // namespace

FolderFiles corpus_files(const fs::path& directory, bool all_kinds, const fs::path& result) {
  Collection found(directory, all_kinds, result);
  const std::string left_out = found.left_out();
  if (found.files.empty())
    fail_usage(
        "--input-dir {}: there are no files of text or JSON lines{}; --format takes all kinds as "
        "what it says",
        directory.string(), left_out.empty() ? "" : ", but " + left_out);
  std::vector<Note> notes;
  if (!left_out.empty()) notes.push_back({fmt::format("{}{}", kLeftOut, left_out)});
  return {std::move(found.files), std::move(notes)};
}

Json prepare(const PrepareOptions& options, Console& console, const CheckStop& check_stop) {
  const auto is_of_result = within(options.out);
  for (const fs::path& file : options.files)
    if (is_of_result(file))
      fail_usage("{}: it is in --out {}, whose files make place for new ones; choose another --out",
                 file.string(), options.out.string());
  const int64_t bytes = total_bytes(options.files);
  const double val_split = validation_part(options.val_split, bytes);
  check_is_ours(options.out);
  for (const fs::path& left : remove_abandoned(options.out))
    console.line(
        fmt::format("tidied up {}, which a prepare that was killed had left", left.string()));
  const Json inputs = describe_inputs(options, val_split);
  if (Json made = find_made(options, inputs, bytes, console, check_stop); !made.is_null()) {
    for (const Note& note : options.remarks) console.line(note.text, note.style);
    renew_remarks(made["summary"], options.remarks);
    console.line(fmt::format("{} is up to date", options.out.string()), Style::kHeading);
    return made;
  }

  Json manifest = {{"source", text_of_name(options.source)}, {"inputs", inputs}};
  if (options.out.has_parent_path()) make_directory(options.out.parent_path());
  write_directory_atomically(options.out, [&](const PathAt& partial) {
    const fs::path& folder = partial.path();
    write_results(options, val_split, bytes, folder, manifest, console, check_stop);
    const std::vector<fs::path> files = result_files(folder);
    Watch watch(console, check_stop, "checking the result", total_bytes(files));
    manifest["files"] = describe_files(files, folder, watch);
    write_file_atomically(folder / kManifest, manifest.dump(2) + "\n");
  });
  const Json& results = manifest["results"];
  console.line(
      fmt::format("{}: {} characters for training, {} for validation, {} tokens in the vocabulary",
                  options.out.string(), results["train_tokens"].get<int64_t>(),
                  results["val_tokens"].get<int64_t>(), results["vocabulary"].get<int>()),
      Style::kHeading);
  return manifest;
}

}  // namespace mmrec
