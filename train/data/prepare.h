#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "support/console.h"
#include "train/data/corpus.h"

namespace mmrec {

/// What `prepare` is told.
struct PrepareOptions {
  std::string source;                        ///< where the files are from, as the user said it
  std::vector<std::filesystem::path> files;  ///< the corpus, in this order
  Format format = Format::kText;
  std::optional<double> val_split;  ///< nothing: by the files' size
  int vocabulary = 0;               ///< the tokenizer's limit; 0: none
  std::vector<Note> remarks = {};   ///< for the summary: what corpus_files left out, what seems odd about a download
  std::filesystem::path out;
};

/// The files of a corpus, and in words what else was found beside them.
struct FolderFiles {
  std::vector<std::filesystem::path> files;
  std::vector<Note> left_out;
};

/// The files below a directory whose names say that they are text or JSON lines (.txt, .text, .md, .jsonl, .jsonlines, .ndjson, .json, and
/// each with .gz, in letters of any case) or, on demand, all. Left out are hidden ones, linked folders, what another prepare has not
/// finished and a folder `result` below. In the order of their paths' bytes. Throws a UsageError where there are none.
FolderFiles corpus_files(const std::filesystem::path& directory, bool all_kinds, const std::filesystem::path& result);

/// Makes options.out, a folder for `train --data`: train.txt, val.txt, tokenizer.json, train.tokens, val.tokens, manifest.json;
/// as a whole or not at all. If it is there already, made from the same files in the same way, nothing is done. Memory is
/// bounded whatever the corpus' size. Says what was read, what was left out and how the split came out; of a folder that is there already what is
/// left out now. check_stop is called often and may throw. Returns the manifest.
nlohmann::ordered_json prepare(const PrepareOptions& options, Console& console, const std::function<void()>& check_stop);

}  // namespace mmrec
