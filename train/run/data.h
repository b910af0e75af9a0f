#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "support/console.h"
#include "train/data/tokenizer.h"
#include "train/data/tokens.h"
#include "train/run/options.h"

namespace mmrec {

/// Enough of a run's tokens to tell them from others: a resumed run must read the text that it was begun with.
struct DataFingerprint {
  int64_t train_tokens = 0, validation_tokens = 0;
  uint32_t train_crc = 0, validation_crc = 0;
  bool operator==(const DataFingerprint&) const = default;
};

/// "4800 characters (CRC 1234abcd) and 1200 for validation (5678ef90)".
std::string describe(const DataFingerprint& data);

/// A text's name that finds it from any directory.
std::string absolute_data(const std::string& data);

/// A run's text as tokens.
struct RunData {
  Tokenizer tokenizer;
  Tokens train, validation;
  std::vector<Note> notes;     ///< what was read, how it was divided, and what seems odd about it
  std::string unknown;         ///< which characters have no token, in words; "" where all have one
  std::string read_otherwise;  ///< how earlier versions read the same bytes as another text, for the end of a message; "" where they did not

  DataFingerprint fingerprint() const;
  /// Whether it is a text that has this fingerprint, however its ids are stored here and were there: a text file's in other widths than
  /// those of the folder that `prepare` made of it.
  bool is(const DataFingerprint& other) const;
};

/// Reads options.data, or opens it where it is a folder that `prepare` made. The tokenizer is `known`, a checkpoint's, if there is one (with
/// options.extend_vocab the text's other characters get ids after its own), else the folder's, or one of the text's characters up to
/// options.vocabulary.
RunData load_data(const TrainOptions& options, const std::optional<Tokenizer>& known);

/// The number of ids that can be predicted: the tokenizer's where the embedding is just that size, rounded up
/// (`--vocab auto`), else all rows of the embedding.
int model_vocabulary(const Config& config, const Tokenizer& tokenizer);

/// Throws a UsageError where `data` is a folder: --val-split was given, and what is in the folder is divided already.
void check_can_be_split(const std::string& data, const std::string& val_split);

/// Throws an Error where `now`, read from `name`, is not the text that a run was begun with.
void check_same_data(const DataFingerprint& begun_with, const RunData& now, const std::string& name);

}  // namespace mmrec
