#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace mmrec {

/// What defines a model. The field names are those of config.json and of `--set field=value`.
struct Config {
  std::string arch = "mmrec";  ///< the blocks' architecture, one of model/architecture.h
  int vocab_size = 5000;
  int dim = 128;         ///< D
  int layers = 4;        ///< L
  int heads = 4;         ///< H, divides dim
  int max_seq = 1024;    ///< the longest window that may be trained on
  int mem_slots = 1024;  ///< slots of a memory bank before pooling, a multiple of 16
  bool hem = true;       ///< q, k, v, z from one fused projection
  bool dpg = false;      ///< a low-rank decay of its own beside MDI's
  int dpg_rank = 128;
  bool uboo = false;              ///< the auxiliary planning loss
  float lambda_p = 0.1f;          ///< its weight
  int chunk_size = 0;             ///< a longer sequence is cut; 0: never
  std::string memory = "random";  ///< the slots are drawn anew for each training step; or "learned": they are parameters

  bool operator==(const Config&) const = default;
};

/// The presets' names (tiny, mini, ..), and one of them; throws a UsageError that lists the names.
std::vector<std::string> preset_names();
Config preset(std::string_view name);

nlohmann::json to_json(const Config& config);
/// Fields that are absent keep their value in `base`. `where` (a file's name, an option) goes into the error for an unknown
/// field, a wrong type or an impossible value.
Config config_from_json(const nlohmann::json& json, const Config& base, std::string_view where);
/// `--set field=value`.
void set_field(Config& config, std::string_view assignment);
/// Throws a UsageError that names the field unless `holds`.
void require_field(bool holds, const char* field, const std::string& problem);
/// Throws a UsageError that names the field where a value makes no sense.
void check_values(const Config& config);
/// The same, also for what this version does not support.
void check_config(const Config& config);

}  // namespace mmrec
