#pragma once

#include <filesystem>
#include <optional>

#include "train/data/data_file.h"
#include "train/data/tokenizer.h"
#include "train/data/tokens.h"

namespace mmrec {

/// The content of a folder made by `prepare`.
struct PreparedData {
  Tokenizer tokenizer;
  Tokens train, validation;  ///< on disk
  /// The texts that these were made of, held open; empty: the file was removed.
  std::optional<DataFile> train_text = {}, validation_text = {};
};

/// Returns whether a path is such a folder, that is, contains train.tokens.
bool is_prepared(const std::filesystem::path& path);

/// Opens such a folder. Throws a UsageError if its tokenizer has more than `vocabulary` ids (0: no
/// limit), an Error if its files do not belong together.
PreparedData load_prepared(const std::filesystem::path& folder, int vocabulary);

}  // namespace mmrec
