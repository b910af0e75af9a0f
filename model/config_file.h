#pragma once

#include <string>
#include <vector>

#include "model/config.h"

namespace mmrec {

/// Loads `--config`: a preset's name or a JSON file of fields. {"preset": "mini", ..} starts from
/// that preset, otherwise from `base` (by default tiny), which also has the fields that presets
/// leave open. The assignments of `--set` that follow are not made, but the architecture that they
/// ask for counts before the file's, because presets depend on it. Throws a UsageError if the
/// argument is neither, for an unknown field and for an impossible value.
Config load_config(const std::string& preset_or_file, const Config& base = {},
                   const std::vector<std::string>& assignments = {});

}  // namespace mmrec
