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

/// Options of `prepare`.
struct PrepareOptions {
  std::string source;                        ///< origin of the files, as the user gave it
  std::vector<std::filesystem::path> files;  ///< the corpus, in this order
  Format format = Format::kText;
  std::optional<double> val_split;  ///< empty: chosen by the files' size
  int vocabulary = 0;               ///< limit of the tokenizer; 0: none
  /// for the summary: files that corpus_files left out, download warnings
  std::vector<Note> remarks = {};
  std::filesystem::path out;
};

/// The files of a corpus, and a description of the files left out.
struct FolderFiles {
  std::vector<std::filesystem::path> files;
  std::vector<Note> left_out;
};

/// Collects the text and JSON lines files below a directory (.txt, .text, .md, .jsonl, .jsonlines,
/// .ndjson, .json, each also with .gz, in any case), or all files with `all_kinds`. Leaves out
/// hidden files, linked folders, partial results of another prepare, and the folder `result`.
/// Sorted by the bytes of their paths. Throws a UsageError if there are none.
FolderFiles corpus_files(const std::filesystem::path& directory, bool all_kinds,
                         const std::filesystem::path& result);

/// Makes the folder options.out for `train --data`, atomically: train.txt, val.txt, tokenizer.json,
/// train.tokens, val.tokens, manifest.json. Does nothing if the folder already holds the result of
/// the same files and options. Memory is bounded for any corpus size. Prints what was read and left
/// out and how the split came out; for an up-to-date folder only what is left out now. check_stop
/// is called often and may throw. Returns the manifest.
nlohmann::ordered_json prepare(const PrepareOptions& options, Console& console,
                               const std::function<void()>& check_stop);

}  // namespace mmrec
