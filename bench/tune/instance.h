#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace mmrec::tune {

/// GeneratorParams by name, as texts; those that are not named have the generator's defaults.
using Params = std::map<std::string, std::string>;

/// A kernel's sizes by the names in its operation's SIZES.
using NamedSizes = std::map<std::string, int>;

/// Which kernel serves a pass of an operation: a variant, compiled with certain parameters.
struct Instance {
  std::string variant;
  Params params;

  auto operator<=>(const Instance&) const = default;
  /// For people: "packed tile_rows=6 tile_columns=64", or "packed" with the defaults.
  std::string string() const;
};

/// As texts, the way the registry writes them: "tile_rows=6 tile_columns=64".
std::string params_string(const Params& params);
/// The inverse.
Params parse_params(const std::string& text);

/// Numbers and truth values become JSON's.
nlohmann::json params_json(const Params& params);
/// Throws an Error for what is no object of scalars.
Params params_from_json(const nlohmann::json& json);

/// A call that is tuned for: a pass of an operation with sizes.
struct Call {
  std::string op, pass;
  NamedSizes sizes;

  auto operator<=>(const Call&) const = default;
};

/// What files have for a number of something, and for a call's sizes, which may be 0. Throw an Error for what is no whole number.
int count_from_json(const nlohmann::json& json, int least = 1);
NamedSizes sizes_from_json(const nlohmann::json& json);
/// Throws an Error for what is no positive number.
double seconds_from_json(const nlohmann::json& json);

/// What times depend on besides the kernel.
struct Machine {
  std::string cpu, microarchitecture;  ///< runtime/cpu_info.h: amd_epyc_9r14, amd_zen4
  std::string isa;                     ///< tier of the kernels' target: avx512
  std::string target, halide;
  int threads = 1;

  /// With the kernels' target and the number of threads that are set.
  static Machine current();
};

}  // namespace mmrec::tune
