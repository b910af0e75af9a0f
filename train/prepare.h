#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "train/console.h"
#include "train/corpus.h"

namespace mmrec {

/// What `prepare` is told.
struct PrepareOptions {
  std::string source;                        ///< where the files are from, as the user said it
  std::vector<std::filesystem::path> files;  ///< the corpus, in this order
  Format format = Format::kText;
  std::optional<double> val_split;  ///< nothing: by the files' size
  int vocabulary = 0;               ///< the tokenizer's limit; 0: none
  std::filesystem::path out;
};

/// The files below a directory whose names say that they are text or JSON lines (.txt, .text, .md, .jsonl, .ndjson, .json, and
/// each with .gz) or, on demand, all; hidden ones are left out, and those of a folder `result` below it. In the order of their
/// paths' bytes. Throws a UsageError where there are none.
std::vector<std::filesystem::path> corpus_files(const std::filesystem::path& directory, bool all_kinds, const std::filesystem::path& result);

/// Makes options.out, a folder for `train --data`: train.txt, val.txt, tokenizer.json, train.tokens, val.tokens, manifest.json;
/// as a whole or not at all. If it is there already, made from the same files in the same way, nothing is done. Memory is
/// bounded whatever the corpus' size. check_stop is called often and may throw. Returns the manifest.
nlohmann::ordered_json prepare(const PrepareOptions& options, Console& console, const std::function<void()>& check_stop);

}  // namespace mmrec
