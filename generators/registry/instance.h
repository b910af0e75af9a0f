#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace mmrec::registry {

/// A parameter of a generator that tables may set, and the values that are worth trying, in
/// ascending order.
struct Parameter {
  std::string name;
  int standard;  ///< the default, one of the values
  std::vector<int> values;
};

/// GeneratorParams by name, as texts; those that are not named have the generator's defaults.
using Params = std::map<std::string, std::string>;

/// A kernel's sizes by their names in its operation's line of the registry.
using NamedSizes = std::map<std::string, int>;

/// Which kernel serves a pass of an operation: a variant, compiled with certain parameters.
struct Instance {
  std::string variant;
  Params params;

  auto operator<=>(const Instance&) const = default;
  /// For people: "packed tile_columns=64 tile_rows=6", or "packed" with the defaults.
  std::string string() const;
};

/// As texts, the way the registry writes them: "tile_columns=64 tile_rows=6".
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

/// What files have for a number of something, and for a call's sizes, which may be 0. Throw an
/// Error for what is no whole number.
int count_from_json(const nlohmann::json& json, int least = 1);
NamedSizes sizes_from_json(const nlohmann::json& json);
/// Throws an Error for what is no positive number.
double seconds_from_json(const nlohmann::json& json);

/// Why a call's sizes are not those of its operation: "its sizes are not N D"; "" where they are,
/// or where the registry has no such operation.
std::string wrong_sizes(const Call& call);
/// A call's sizes in the order of its operation's line, and the inverse. Throw an Error where a
/// size is missing or too many.
std::vector<int> sizes_of(const Call& call);
Call call_of(const std::string& op, const std::string& pass, const std::vector<int>& sizes);
/// "gemm.nt 512x128x128"; of what the registry does not know the sizes stand in the order of their
/// names.
std::string call_string(const Call& call);

}  // namespace mmrec::registry
