#include "train/data/prepare.h"

#include <fcntl.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
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
#include "train/data/split.h"
#include "train/data/token_file.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using CheckStop = std::function<void()>;

constexpr const char* kManifest = "manifest.json";
constexpr const char* kFiles[] = {"train.txt", "val.txt", "train.tokens", "val.tokens"};
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
  const fs::path within = file.lexically_relative(relative_to);
  return {{"name", text_of_name((within.empty() ? file : within).generic_string())},
          {"bytes", bytes},
          {"sha256", sha256}};
}

/// [{"name", "bytes", "sha256"}, ..]
Json describe_files(const std::vector<DataFile>& files, const fs::path& relative_to, Watch& watch) {
  Json list = Json::array();
  int64_t bytes_before = 0;
  for (const DataFile& file : files) {
    const auto [bytes, sha256] =
        checksum_of(file, [&](int64_t read) { watch(bytes_before + read); });
    list.push_back(describe_file(file.name, relative_to, bytes, sha256));
    bytes_before += bytes;
  }
  return list;
}

int64_t total_bytes(const std::vector<DataFile>& files) {
  int64_t total = 0;
  for (const DataFile& file : files) total += size_of(file);
  return total;
}

std::vector<DataFile> result_files(const fs::path& folder, TokenKind tokens) {
  std::vector<DataFile> files;
  files.emplace_back(folder / Tokenizer::file_name(tokens));
  for (const char* name : kFiles) files.emplace_back(folder / name);
  return files;
}

/// Returns the deepest folder that contains all files, "" if there is none.
fs::path common_folder(const std::vector<DataFile>& files) {
  fs::path folder = files.front().name.parent_path();
  const auto is_outside = [&](const fs::path& file) {
    const fs::path within = file.lexically_relative(folder);  // "": one of them is absolute
    return within.empty() || *within.begin() == "..";
  };
  for (const DataFile& file : files)
    while (!folder.empty() && is_outside(file.name))
      folder = folder == folder.parent_path() ? fs::path() : folder.parent_path();
  return folder;
}

/// As --format has it.
const char* name_of_option(Format format) {
  return format == Format::kText ? "text" : format == Format::kJsonLines ? "jsonl" : "wikipedia";
}

std::string describe_rule(Format format, double val_split) {
  if (val_split == 0) return "no validation text";
  if (format == Format::kText)
    return "validation is the end of the text, from the beginning of a line if one is near, else "
           "of a character";
  return "a document but for the first is for validation if that brings the part of the bytes that "
         "are nearer to val_split";
}

/// Together with the files, this determines the result completely: equal inputs give equal results.
Json describe_inputs(const PrepareOptions& options, Format format, double val_split) {
  Json inputs = {{"version", 2},
                 {"format", name_of_option(format)},
                 {"tokenizer", name_of(options.tokens)},
                 {"vocab", options.vocabulary == 0 ? Json("auto") : Json(options.vocabulary)},
                 {"val_split", val_split},
                 {"split_rule", describe_rule(format, val_split)}};
  // Only if they matter: a folder of an earlier version does not have them.
  if (options.read.text_field != ReadOptions{}.text_field)
    inputs["text_field"] = options.read.text_field;
  if (options.read.skip_bad) inputs["skip_bad"] = true;
  return inputs;
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
    const std::vector<DataFile> results = result_files(out, options.tokens);
    if (made_of != inputs || !std::ranges::all_of(results, [](const DataFile& file) {
          return kind_of_file(file.name) == fs::file_type::regular;
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

/// What an up-to-date folder's summary may say otherwise each time.
std::vector<Note> remarks_of(const PrepareOptions& options, const Unpacked& corpus) {
  LeftOut left_out = options.left_out;
  left_out.add(corpus.left_out);
  std::vector<Note> remarks;
  if (!left_out.empty()) remarks.push_back({describe(left_out)});
  remarks.insert(remarks.end(), options.remarks.begin(), options.remarks.end());
  return remarks;
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
void check_is_ours(const fs::path& out, TokenKind tokens) {
  const fs::file_type kind = kind_of_file(out);
  if (kind == fs::file_type::not_found) return;
  if (kind != fs::file_type::directory)
    fail("cannot write {}: it exists and is not a directory", out.string());
  for (const std::string& name : names_in(out)) {
    if (name == kManifest || name == Tokenizer::file_name(tokens) ||
        std::ranges::count(kFiles, name) > 0)
      continue;
    if (std::ranges::count(Tokenizer::kFileNames, name) > 0)
      fail_usage("--out {}: its tokens are not of {} ('{}'); choose a new folder", out.string(),
                 name_of(tokens), name);
    fail_usage("--out {}: it holds other files ('{}'); choose a new folder", out.string(), name);
  }
}

/// Writes a part's token file. Returns the number of tokens.
int64_t write_tokens(const fs::path& folder, const std::string& part, const Tokenizer& tokenizer,
                     int64_t text_bytes, int64_t bytes_before, Watch& watch) {
  TokenFileWriter writer(folder / (part + ".tokens"), tokenizer.size());
  int64_t count = 0;
  const auto write = [&](std::string_view text) {
    const std::vector<int32_t> ids = tokenizer.encode(text, part);
    writer.append(ids);
    count += static_cast<int64_t>(ids.size());
  };
  WholeLines lines;
  read_own_text(
      folder / (part + ".txt"), [&](std::string_view piece) { write(lines.append(piece)); },
      [&](int64_t bytes) { watch(bytes_before + bytes); });
  write(lines.rest());
  writer.finish({.vocabulary = tokenizer.size(),
                 .tokenizer_crc32 = crc32_of(read_file(folder / tokenizer.file_name())),
                 .text_bytes = text_bytes});
  return count;
}

/// [{"name", "bytes", "sha256"}, ..] of the files that were given, as they were read.
Json describe_sources(const std::vector<DataFile>& files, const CorpusFacts& facts) {
  std::map<fs::path, Checksum> read;
  for (const FileFacts& text : facts.texts)
    if (!text.is_member) read[text.name] = {text.bytes, text.sha256};
  for (const ArchiveFacts& archive : facts.archives) read[archive.name] = archive.checksum;
  Json list = Json::array();
  const fs::path folder = common_folder(files);
  for (const DataFile& file : files) {
    const auto& [bytes, sha256] = read.at(file.name);
    list.push_back(describe_file(file.name, folder, bytes, sha256));
  }
  return list;
}

/// Writes all files except the manifest; fills in the manifest.
void write_results(const PrepareOptions& options, const Unpacked& corpus, Format format,
                   double val_split, const fs::path& folder, Json& manifest, Console& console,
                   const CheckStop& check_stop) {
  CharacterCounts counts;
  TextWriter train(folder / "train.txt", counts), validation(folder / "val.txt", counts);
  CorpusFacts facts;
  {
    Watch watch(console, check_stop, "reading", total_bytes(corpus.texts));
    facts = read_corpus(
        corpus, format, val_split,
        [&](bool is_validation, std::string_view piece) {
          (is_validation ? validation : train).append(piece);
        },
        [&](int64_t bytes) { watch(bytes); }, options.read);
  }
  train.write_out();
  validation.write_out();
  if (train.bytes() == 0) {
    const LeftOut skipped = skipped_of(facts);
    fail("{}: there is no text in it{}{}", options.source,
         skipped.empty() ? "" : "; skipped: ", skipped.text());
  }
  if (format == Format::kText) {
    Watch watch(console, check_stop, "splitting", 0);
    train.move_end(val_split, validation, watch);
    if (train.bytes() == 0)
      fail("{}: it is too short to be divided; with --val-split 0 all of it is for training",
           options.source);
  }
  train.flush();
  validation.flush();

  const Tokenizer tokenizer = [&] {
    Watch watch(console, check_stop, "making the tokenizer", train.bytes());
    const TextSource text = [&](const std::function<void(std::string_view)>& visit) {
      read_own_text(folder / "train.txt", visit, [&](int64_t bytes) { watch(bytes); });
    };
    return make_tokenizer(options.tokens, counts, text, train.bytes(), options.vocabulary);
  }();
  tokenizer.save(folder / tokenizer.file_name());
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
    if (format != Format::kText) results["documents"] = facts.documents;
  }

  manifest["inputs"]["files"] = describe_sources(options.files, facts);
  std::vector<Note> notes = describe(facts, total(counts));
  const std::vector<Note> remarks = remarks_of(options, corpus);
  notes.insert(notes.end(), remarks.begin(), remarks.end());
  notes.push_back(describe_split(val_split, train.bytes(), validation.bytes()));
  if (const std::string unknown = describe_unknown(tokenizer, counts); !unknown.empty())
    notes.push_back({unknown, Style::kWarning});
  Json& summary = manifest["summary"] = Json::array();
  for (const Note& note : notes) {
    console.line(note.text, note.style);
    summary.push_back(visible(note.text));
  }
}

Unpacked unpack_sources(const PrepareOptions& options, Console& console,
                        const CheckStop& check_stop) {
  Watch watch(console, check_stop, "unpacking", 0);
  Unpacked corpus = unpack(options.files,
                           /*all_kinds=*/options.format.has_value(), std::ref(watch));
  if (corpus.texts.empty())
    fail("{}: there are no texts in it{}{}", options.source,
         corpus.left_out.empty() ? "" : ", but ", corpus.left_out.text());
  return corpus;
}

}  // namespace

Json prepare(const PrepareOptions& options, Console& console, const CheckStop& check_stop) {
  const auto is_of_result = within(options.out);
  for (const DataFile& file : options.files)
    if (!file.copy && is_of_result(file.name))
      fail_usage("{}: it is in --out {}, whose files make place for new ones; choose another --out",
                 file.name.string(), options.out.string());
  const int64_t bytes = total_bytes(options.files);
  const double val_split = validation_part(options.val_split, bytes);
  check_is_ours(options.out, options.tokens);
  for (const fs::path& left : remove_abandoned(options.out))
    console.line(
        fmt::format("tidied up {}, which a prepare that was killed had left", left.string()));
  const Unpacked corpus = unpack_sources(options, console, check_stop);
  const Format format = options.format ? *options.format : common_format(corpus.texts);
  if (format != Format::kJsonLines && options.read.text_field != ReadOptions{}.text_field)
    fail_usage("--text-field {}: {} has no JSON lines; leave the option out",
               options.read.text_field, options.source);
  const Json inputs = describe_inputs(options, format, val_split);
  if (Json made = find_made(options, inputs, bytes, console, check_stop); !made.is_null()) {
    const std::vector<Note> remarks = remarks_of(options, corpus);
    for (const Note& note : remarks) console.line(note.text, note.style);
    renew_remarks(made["summary"], remarks);
    console.line(fmt::format("{} is up to date", options.out.string()), Style::kHeading);
    return made;
  }

  Json manifest = {{"source", text_of_name(options.source)}, {"inputs", inputs}};
  if (options.out.has_parent_path()) make_directory(options.out.parent_path());
  write_directory_atomically(options.out, [&](const PathAt& partial) {
    const fs::path& folder = partial.path();
    write_results(options, corpus, format, val_split, folder, manifest, console, check_stop);
    const std::vector<DataFile> files = result_files(folder, options.tokens);
    Watch watch(console, check_stop, "checking the result", total_bytes(files));
    manifest["files"] = describe_files(files, folder, watch);
    write_file_atomically(folder / kManifest, manifest.dump(2) + "\n");
  });
  const Json& results = manifest["results"];
  console.line(fmt::format("{}: {} {} for training, {} for validation, {} tokens in the vocabulary",
                           options.out.string(), results["train_tokens"].get<int64_t>(),
                           unit_of(options.tokens), results["val_tokens"].get<int64_t>(),
                           results["vocabulary"].get<int>()),
               Style::kHeading);
  return manifest;
}

}  // namespace mmrec
