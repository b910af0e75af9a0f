#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "support/console.h"
#include "support/stop_signals.h"
#include "train/data/corpus.h"
#include "train/data/tokenizer.h"

namespace mmrec {

/// A source of a mix.
struct MixSource {
  std::string name;  ///< as the user gave it
  double weight;
  size_t files;  ///< how many of PrepareOptions::files are its files
};

/// Options of `prepare`.
struct PrepareOptions {
  std::string source;           ///< origin of the files, as the user gave it
  std::vector<DataFile> files;  ///< the corpus, in this order
  /// The sources of a mix, to which `files` belong in their order; empty: no mix.
  std::vector<MixSource> mix = {};
  std::optional<Format> format = {};  ///< empty: by the texts' names
  ReadOptions read = {};
  std::optional<double> val_split = {};  ///< empty: chosen by the files' size
  std::optional<TokenKind> tokens =
      {};                          ///< empty: by the training text's size, see choose_tokens()
  int vocabulary = 0;              ///< limit of the tokenizer; 0: see make_tokenizer
  LeftOut left_out = {};           ///< by files_below and named_files
  std::vector<Note> remarks = {};  ///< for the summary: download warnings
  std::filesystem::path out;
};

/// Returns what `prepare` is to make a folder of, before `--data` can take it: all texts below a
/// folder that is none of prepare's and has no train.txt or val.txt, or the files of a pattern, but
/// for what is damaged; nullopt: `--data` takes it as it is, or says what is wrong with it.
std::optional<PrepareOptions> texts_to_prepare(const std::string& data);

/// Returns a check_stop for prepare() that throws when a signal has come.
std::function<void()> stop_at(const StopSignals& signals, std::filesystem::path out);

/// Makes the folder options.out for `train --data`, atomically: train.txt, val.txt, the tokenizer's
/// file, train.tokens, val.tokens, manifest.json. Does nothing if the folder already holds the
/// result of the same files and options. Memory is bounded for any corpus size. Prints what was
/// read and left out and how the split came out; for an up-to-date folder only what is left out
/// now. check_stop is called often and may throw. Returns the manifest.
nlohmann::ordered_json prepare(const PrepareOptions& options, Console& console,
                               const std::function<void()>& check_stop);

}  // namespace mmrec
