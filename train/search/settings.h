#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mmrec {

/// Names of settings and their values as text, in the order given: options of train, and fields of
/// its configuration.
using Settings = std::vector<std::pair<std::string, std::string>>;

/// Returns "lr=0.003 batch=4".
std::string describe(const Settings& settings);

nlohmann::ordered_json to_json(const Settings& settings);

bool has(const Settings& settings, std::string_view name);

bool is_preset(const std::string& config);

/// Makes the paths of texts, checkpoints and configurations absolute, so that they are found from
/// any directory.
Settings with_absolute_paths(Settings settings);

/// Returns a folder name for settings. Characters that a folder name should not have become
/// underscores; then, and for long texts, a checksum makes it unique.
std::string folder_name(const Settings& settings);

/// Returns them as words of a command line of `train`.
std::vector<std::string> arguments(const Settings& settings);

/// Formats settings for `train --options`.
std::string options_file(const std::string& about, const Settings& settings);

}  // namespace mmrec
