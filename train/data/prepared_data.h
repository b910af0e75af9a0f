#pragma once

#include <filesystem>

#include "train/data/tokenizer.h"
#include "train/data/tokens.h"

namespace mmrec {

/// A folder that `prepare` made.
struct PreparedData {
  Tokenizer tokenizer;
  Tokens train, validation;  ///< on the disk
};

/// Whether a path is such a folder: it has train.tokens.
bool is_prepared(const std::filesystem::path& path);

/// Throws a UsageError where the folder's tokenizer has more ids than `vocabulary` (0: no limit), an Error where its files do
/// not belong together.
PreparedData load_prepared(const std::filesystem::path& folder, int vocabulary);

}  // namespace mmrec
