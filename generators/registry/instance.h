#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "generators/registry/registry.h"

namespace mmrec::registry {

/// A parameter of a generator that schedule tables may set, and its values worth trying, in
/// ascending order.
struct TunableParameter {
  std::string name;
  int standard;  ///< the default; one of the values
  std::vector<int> values;
};

/// GeneratorParams by name, as text. Parameters that are not listed have the generator's default.
using Params = std::map<std::string, std::string>;

/// Sizes of a call, by their names in the operation's line of the registry.
using NamedSizes = std::map<std::string, int>;

/// The kernel for a pass of an operation: a variant compiled with certain parameters.
struct Instance {
  std::string variant;
  Params params;

  auto operator<=>(const Instance&) const = default;
  /// As text: "packed tile_columns=64 tile_rows=6", or "packed" for the defaults.
  std::string string() const;
};

/// Converts to and from the registry's format: "tile_columns=64 tile_rows=6". parse_params throws
/// an Error if a word has no '='.
std::string params_string(const Params& params);
Params parse_params(const std::string& text);

/// Converts to and from a JSON object. Numbers and booleans become JSON numbers and booleans.
/// params_from_json throws an Error unless `json` is an object of scalars.
nlohmann::json params_json(const Params& params);
Params params_from_json(const nlohmann::json& json);

/// A call to tune for: a pass of an operation, with sizes.
struct Call {
  std::string op, pass;
  NamedSizes sizes;
  std::string dtype = kFloat32;  ///< element type of the arrays

  auto operator<=>(const Call&) const = default;
  /// Whether the same variants serve both calls: all but the sizes is equal.
  bool same_pass(const Call& other) const {
    return op == other.op && pass == other.pass && dtype == other.dtype;
  }
  /// This call without its sizes.
  Call without_sizes() const { return {op, pass, {}, dtype}; }
};

/// Reads a count, or the sizes of a call (which may be 0), from JSON. Throws an Error if a value is
/// not a whole number or is less than `least`.
int count_from_json(const nlohmann::json& json, int least = 1);
NamedSizes sizes_from_json(const nlohmann::json& json);
/// Throws an Error unless `json` is a positive number.
double seconds_from_json(const nlohmann::json& json);

/// Returns why a call's sizes do not match its operation: "its sizes are not N D". Returns "" if
/// they match, and for an unknown operation.
std::string wrong_sizes(const Call& call);
/// Converts a call to its sizes, in the order of the operation's registry line, and back. Throws an
/// Error for an unknown operation and for missing or extra sizes.
std::vector<int> sizes_of(const Call& call);
Call call_of(const std::string& op, const std::string& pass, const std::vector<int>& sizes,
             const std::string& dtype = kFloat32);
/// Formats a call's pass, with the element type unless that is f32: "gemm.nt", "gemm.nt bf16".
std::string pass_string(const Call& call);
/// Formats a call: "gemm.nt 512x128x128". For an unknown operation the sizes are in the order of
/// their names.
std::string call_string(const Call& call);

}  // namespace mmrec::registry
