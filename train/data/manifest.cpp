#include "train/data/manifest.h"

#include <algorithm>
#include <map>

#include "support/atomic_file.h"
#include "support/checksum.h"
#include "support/error.h"
#include "support/names.h"
#include "train/data/mix.h"
#include "train/data/source_files.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kFiles[] = {"train.txt", "val.txt", "train.tokens", "val.tokens"};

Json describe_file(const fs::path& file, const fs::path& relative_to, int64_t bytes,
                   const std::string& sha256) {
  const fs::path within = file.lexically_relative(relative_to);
  return {{"name", text_of_name((within.empty() ? file : within).generic_string())},
          {"bytes", bytes},
          {"sha256", sha256}};
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

/// Returns the tokens for the training text that a manifest describes.
TokenChoice tokens_of(const PrepareOptions& options, const Json& manifest) {
  int64_t bytes = 0;
  for (const Json& file : manifest.at("files"))
    if (file.at("name") == "train.txt") bytes = file.at("bytes");
  return tokens_of(options, bytes);
}

}  // namespace

TokenChoice tokens_of(const PrepareOptions& options, int64_t bytes) {
  return options.tokens ? TokenChoice{*options.tokens, options.vocabulary}
                        : choose_tokens(bytes, options.vocabulary);
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

Json describe_files(const std::vector<DataFile>& files, const fs::path& relative_to,
                    ReadWatch& watch) {
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

Json describe_sources(const std::vector<DataFile>& files, const std::vector<CorpusFacts>& facts) {
  std::map<fs::path, Checksum> read;
  for (const CorpusFacts& of_source : facts) {
    for (const FileFacts& text : of_source.texts)
      if (!text.is_member) read[text.name] = {text.bytes, text.sha256};
    for (const ArchiveFacts& archive : of_source.archives) read[archive.name] = archive.checksum;
  }
  Json list = Json::array();
  const fs::path folder = common_folder(files);
  for (const DataFile& file : files) {
    const auto& [bytes, sha256] = read.at(file.name);
    list.push_back(describe_file(file.name, folder, bytes, sha256));
  }
  return list;
}

Json describe_inputs(const PrepareOptions& options, const TokenChoice& tokens,
                     const std::vector<Texts>& sources, double val_split) {
  Json inputs = {{"version", 2}};
  if (options.mix.empty()) {
    inputs["format"] = name_of_option(sources.front().format);
  } else {
    inputs["mix_rule"] = kMixRule;
    for (const auto& [source, unpacked, format] : sources)
      inputs["mix"].push_back({{"weight", source.weight},
                               {"files", source.files},
                               {"format", name_of_option(format)},
                               {"split_rule", describe_rule(format, val_split)}});
  }
  inputs["tokenizer"] = name_of(tokens.kind);
  inputs["vocab"] = tokens.limit == 0 ? Json("auto") : Json(tokens.limit);
  inputs["val_split"] = val_split;
  if (options.mix.empty()) inputs["split_rule"] = describe_rule(sources.front().format, val_split);
  // Only if they matter: a folder of an earlier version does not have them.
  if (options.read.text_field != ReadOptions{}.text_field)
    inputs["text_field"] = options.read.text_field;
  if (options.read.skip_bad) inputs["skip_bad"] = true;
  return inputs;
}

Json find_made(const PrepareOptions& options, const std::vector<Texts>& sources, double val_split,
               int64_t bytes, Console& console, const std::function<void()>& check_stop) {
  const fs::path& out = options.out;
  if (kind_of_file(out / kManifest) == fs::file_type::not_found) return nullptr;
  try {
    Json manifest = Json::parse(read_file(out / kManifest));
    const Json& made_of = manifest.at("inputs");
    const TokenChoice tokens = tokens_of(options, manifest);
    Json inputs = describe_inputs(options, tokens, sources, val_split);
    inputs["files"] = made_of.at("files");
    const std::vector<DataFile> results = result_files(out, tokens.kind);
    if (made_of != inputs || !std::ranges::all_of(results, [](const DataFile& file) {
          return kind_of_file(file.name) == fs::file_type::regular;
        }))
      return nullptr;
    ReadWatch watch(console, check_stop, "checking", bytes + total_bytes(results));
    if (made_of.at("files") != describe_files(options.files, common_folder(options.files), watch))
      return nullptr;
    return manifest.at("files") == describe_files(results, out, watch) ? manifest : nullptr;
  } catch (const Json::exception&) {  // not our manifest
    return nullptr;
  }
}

void check_is_of(const fs::path& out, const std::string& source, const std::string& data) {
  const fs::path file = out / kManifest;
  if (kind_of_file(file) != fs::file_type::regular) return;
  const Json manifest = Json::parse(read_file(file), nullptr, /*allow_exceptions=*/false);
  if (!manifest.is_object()) return;
  const Json made_of = manifest.value("source", Json());
  if (made_of.is_string() && full_path(name_of_text(made_of.get<std::string>())) == source) return;
  fail_usage(
      "--data {}: prepare would make the folder {} of it, which is there and of something else; "
      "make one of another name with prepare {} {} --out NAME and then give --data NAME",
      data, out.string(), is_pattern(data) ? "--input-file" : "--input-dir", shell_quoted(data));
}

void check_is_ours(const fs::path& out, std::optional<TokenKind> tokens) {
  const fs::file_type kind = kind_of_file(out);
  if (kind == fs::file_type::not_found) return;
  if (kind != fs::file_type::directory)
    fail("cannot write {}: it exists and is not a directory", out.string());
  const bool is_made = kind_of_file(out / kManifest) == fs::file_type::regular;
  for (const std::string& name : names_in(out)) {
    if (name == kManifest || std::ranges::count(kFiles, name) > 0) continue;
    if (std::ranges::count(Tokenizer::kFileNames, name) > 0) {
      if (is_made || !tokens || name == Tokenizer::file_name(*tokens)) continue;
      fail_usage(
          "--out {}: it holds a tokenizer's file ('{}') that prepare did not make; choose a "
          "new folder",
          out.string(), name);
    }
    fail_usage("--out {}: it holds other files ('{}'); choose a new folder", out.string(), name);
  }
}

}  // namespace mmrec
