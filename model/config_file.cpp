#include "model/config_file.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "support/atomic_file.h"
#include "support/error.h"
#include "support/strict_json.h"

namespace mmrec {

Config load_config(const std::string& preset_or_file, const Config& base,
                   const std::vector<std::string>& assignments) {
  Config start = base_for(assignments, base);
  const std::vector<std::string> names = preset_names();
  if (std::find(names.begin(), names.end(), preset_or_file) != names.end())
    return preset(preset_or_file, start);
  std::error_code ignored;  // a file that cannot be accessed counts as missing
  if (!std::filesystem::exists(preset_or_file, ignored))
    fail_usage("--config {}: neither a preset ({}) nor a file", preset_or_file,
               fmt::join(names, ", "));
  nlohmann::json fields = parse_json(read_file(preset_or_file), preset_or_file);
  if (!fields.is_object()) return config_from_json(fields, start, preset_or_file);
  fields.erase("run");  // a run's config.json also records the run; ignore that
  if (asks_for_architecture(assignments)) fields["arch"] = start.arch;
  if (fields.contains("preset")) {
    if (!fields["preset"].is_string())
      fail_usage("{}: field 'preset' must be a string", preset_or_file);
    if (fields.contains("arch") && fields["arch"].is_string()) start.arch = fields["arch"];
    start = preset(fields["preset"].get<std::string>(), start);
    fields.erase("preset");
  }
  return config_from_json(fields, start, preset_or_file);
}

}  // namespace mmrec
