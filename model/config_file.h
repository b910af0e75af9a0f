#pragma once

#include <string>

#include "model/config.h"

namespace mmrec {

/// `--config`: a preset's name or a JSON file of fields; {"preset": "mini", ..} starts from a preset, else from tiny. Throws
/// a UsageError for what is neither, for unknown fields and impossible values.
Config load_config(const std::string& preset_or_file);

}  // namespace mmrec
