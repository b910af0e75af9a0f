#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mmrec {

/// Defines a model. The field names are those of config.json and of `--set field=value`.
struct Config {
  std::string arch = "mmrec";  ///< architecture of the blocks; see model/architecture.h
  int vocab_size = 5000;
  int dim = 128;         ///< D
  int layers = 4;        ///< L
  int heads = 4;         ///< H, divides dim
  int max_seq = 1024;    ///< longest window to train on
  int mem_slots = 1024;  ///< slots of a memory bank before pooling, a multiple of 16
  bool hem = true;       ///< q, k, v, z from one fused projection
  bool dpg = false;      ///< a separate low-rank decay beside MDI's
  int dpg_rank = 128;
  bool uboo = false;         ///< auxiliary planning loss
  float lambda_p = 0.1f;     ///< weight of the planning loss
  int chunk_size = 0;        ///< longer sequences are split into chunks of this length; 0: never
  bool carry_state = false;  ///< the recurrence's state goes from chunk to chunk
  /// "random": slots are redrawn for each training step; "learned": slots are parameters
  std::string memory = "random";
  /// start of MDI's gamma: "drawn", or "spread", so that its channels remember for different times
  std::string gates = "drawn";

  bool operator==(const Config&) const = default;
};

/// Returns the presets' names (tiny, mini, ..).
std::vector<std::string> preset_names();
/// Returns one preset for the architecture of `base`, see without_unread_fields; fields that
/// presets leave open keep their value in `base`. Throws a UsageError that lists the names if there
/// is no such preset.
Config preset(std::string_view name, const Config& base = {});

/// Applies one `--set field=value`. Throws a UsageError as config_from_json (config_file.h) does.
void set_field(Config& config, std::string_view assignment);
/// Returns whether assignments of `--set` choose an architecture.
bool asks_for_architecture(const std::vector<std::string>& assignments);
/// Returns what a preset or a file and then the assignments of `--set` begin with: `base`, with the
/// architecture that the assignments ask for and without what it does not read. So only values that
/// somebody gave for it are left for check_config.
Config base_for(const std::vector<std::string>& assignments, Config base);
/// Returns the configuration with the defaults in all fields that its architecture does not read.
Config without_unread_fields(Config config);
/// Throws a UsageError that names the field, unless `holds`.
void require_field(bool holds, const char* field, const std::string& problem);
/// Throws a UsageError that names the field if a value is impossible, or has no effect because the
/// architecture does not read the field.
void check_config(const Config& config);
/// Returns the configuration for reading a text that is longer than a window: like `config`, but
/// with the state carried from chunk to chunk.
Config with_carried_state(Config config);

}  // namespace mmrec
