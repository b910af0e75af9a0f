#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support/console.h"
#include "train/data/tokenizer.h"
#include "train/data/tokens.h"
#include "train/run/options.h"

namespace mmrec {

/// Identifies a run's text. A resumed run must read the text that it began with.
struct DataFingerprint {
  int64_t train_tokens = 0, validation_tokens = 0;
  uint32_t train_crc = 0, validation_crc = 0;
  bool operator==(const DataFingerprint&) const = default;
};

/// Returns "4800 characters (CRC 1234abcd) and 1200 for validation (5678ef90)". `unit`: what the
/// tokens are called.
std::string describe(const DataFingerprint& data, std::string_view unit);

/// Returns an absolute name for a text, valid from any working directory.
std::string absolute_data(const std::string& data);

/// A run's text as tokens.
struct RunData {
  Tokenizer tokenizer;
  Tokens train, validation;
  std::vector<Note> notes = {};  ///< for the log: files read, the split, warnings
  std::string unknown = {};      ///< describes characters without a token; "" if there are none
  /// How earlier versions read the same bytes differently, to end a message; "" if they did not.
  std::string read_otherwise = {};

  DataFingerprint fingerprint() const;
  /// Returns whether this is the text with fingerprint `other`. The width of stored ids may differ:
  /// a text file and the folder that `prepare` made from it can use different widths.
  bool is(const DataFingerprint& other) const;
};

/// Reads options.data, or opens it if it is a folder made by `prepare`. Tokenizer: `known` (a
/// checkpoint's) if given; with options.extend_vocab it gets additional ids for the text's other
/// characters. Otherwise the folder's tokenizer, or a new one of the text, of the kind
/// options.tokenizer with at most options.vocabulary tokens. Throws a UsageError if the tokenizer
/// is of another kind than options.tokenizer.
RunData load_data(const TrainOptions& options, const std::optional<Tokenizer>& known);

/// Returns the number of ids that can be predicted: the tokenizer's size if the embedding is that
/// size rounded up (`--vocab auto`), otherwise all rows of the embedding.
int model_vocabulary(const Config& config, const Tokenizer& tokenizer);

/// Throws a UsageError if `data` is a folder of two texts, so that --val-split cannot apply.
void check_can_be_split(const std::string& data, const std::string& val_split);

/// Throws an Error if `now`, read from `name`, is not the text the run began with.
void check_same_data(const DataFingerprint& begun_with, const RunData& now,
                     const std::string& name);

}  // namespace mmrec
