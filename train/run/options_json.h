#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "train/run/options.h"

namespace mmrec {

/// Returns the options that a checkpoint stores for --resume (Scope::kRun). The configuration has
/// its own file.
nlohmann::json to_json(const TrainOptions& options);
/// Reads such options. Throws an Error with `where` (a file's name) for an unknown field or a wrong
/// type.
TrainOptions options_from_json(const nlohmann::json& json, const std::string& where);
/// Returns the options of to_json() for people, in the command line's words: "auto" for an
/// automatic value, "none" for an option that is not given.
nlohmann::json in_words(const TrainOptions& options);

}  // namespace mmrec
