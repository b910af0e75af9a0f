#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"

namespace mmrec {

nlohmann::json to_json(const Config& config);
/// Reads the fields of a JSON object. Absent fields keep their value in `base`, or get their
/// default if the object's architecture does not read them. Throws a UsageError for an unknown
/// field, a wrong type or an impossible value; `where` (a file's name, an option) goes into the
/// message.
Config config_from_json(const nlohmann::json& json, const Config& base, std::string_view where);
/// The same for what to_json() once made, in a file of a program: earlier versions let fields that
/// the architecture does not read have any value.
Config config_from_record(const nlohmann::json& json, std::string_view where);

/// Loads `--config`: a preset's name or a JSON file of fields. {"preset": "mini", ..} starts from
/// that preset, otherwise from `base` (by default tiny), which also has the fields that presets
/// leave open. The assignments of `--set` that follow are not made, but the architecture that they
/// ask for counts before the file's, because presets depend on it. Throws a UsageError if the
/// argument is neither, for an unknown field and for an impossible value.
Config load_config(const std::string& preset_or_file, const Config& base = {},
                   const std::vector<std::string>& assignments = {});

}  // namespace mmrec
