#include "generators/registry/instance.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <climits>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "support/error.h"
#include "support/parse_number.h"
#include "support/strict_json.h"

namespace mmrec::registry {

std::string params_string(const Params& params) {
  std::string text;
  for (const auto& [name, value] : params)
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", name, value);
  return text;
}

Params parse_params(const std::string& text) {
  Params params;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) fail("expected name=value, got '{}'", word);
    params[word.substr(0, equals)] = word.substr(equals + 1);
  }
  return params;
}

std::string Instance::string() const {
  return params.empty() ? variant : fmt::format("{} {}", variant, params_string(params));
}

nlohmann::json params_json(const Params& params) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [name, value] : params) {
    if (const std::optional<int64_t> number = parse_number<int64_t>(value))
      json[name] = *number;
    else if (value == "true" || value == "false")
      json[name] = value == "true";
    else
      json[name] = value;
  }
  return json;
}

Params params_from_json(const nlohmann::json& json) {
  if (!json.is_object()) fail("params is no object");
  Params params;
  for (const auto& [name, value] : json.items()) {
    if (!value.is_primitive() || value.is_null())
      fail("the parameter {} is no number, text or truth value", name);
    params[name] = value.is_string() ? value.get<std::string>() : value.dump();
  }
  return params;
}

int count_from_json(const nlohmann::json& json, int least) {
  const std::optional<uint64_t> number = whole_number(json, INT_MAX);
  if (!number || *number < static_cast<uint64_t>(least))
    fail("{} is no whole number from {}", json.dump(), least);
  return static_cast<int>(*number);
}

NamedSizes sizes_from_json(const nlohmann::json& json) {
  if (!json.is_object()) fail("sizes is no object");
  NamedSizes sizes;
  for (const auto& [name, size] : json.items()) sizes[name] = count_from_json(size, 0);
  return sizes;
}

double seconds_from_json(const nlohmann::json& json) {
  if (!json.is_number() || !(json.get<double>() > 0)) fail("{} is no time", json.dump());
  return json;
}

std::string wrong_sizes(const Call& call) {
  const Operation* operation = find_operation(call.op);
  if (!operation) return "";
  const bool all = std::ranges::all_of(
      operation->sizes, [&](const std::string& name) { return call.sizes.contains(name); });
  return all && call.sizes.size() == operation->sizes.size()
             ? ""
             : fmt::format("its sizes are not {}", fmt::join(operation->sizes, " "));
}

std::vector<int> sizes_of(const Call& call) {
  const Operation* operation = find_operation(call.op);
  if (!operation) fail("there is no operation {}", call.op);
  std::vector<int> sizes;
  for (const std::string& name : operation->sizes) {
    const auto size = call.sizes.find(name);
    if (size == call.sizes.end()) fail("{}.{} needs the size {}", call.op, call.pass, name);
    sizes.push_back(size->second);
  }
  return sizes;
}

Call call_of(const std::string& op, const std::string& pass, const std::vector<int>& sizes,
             const std::string& dtype) {
  const Operation* operation = find_operation(op);
  if (!operation) fail("there is no operation {}", op);
  const std::vector<std::string>& names = operation->sizes;
  if (sizes.size() != names.size())
    fail_usage("{} has {} sizes, {}, not {}", op, names.size(), fmt::join(names, " "),
               fmt::join(sizes, "x"));
  Call call{op, pass, {}, dtype};
  for (size_t i = 0; i < sizes.size(); ++i) call.sizes[names[i]] = sizes[i];
  return call;
}

std::string pass_string(const Call& call) {
  return fmt::format("{}.{}{}", call.op, call.pass, call.dtype == kFloat32 ? "" : " " + call.dtype);
}

std::string call_string(const Call& call) {
  std::vector<int> sizes;
  if (find_operation(call.op) && wrong_sizes(call).empty())
    sizes = sizes_of(call);
  else
    for (const auto& [name, size] : call.sizes) sizes.push_back(size);
  return fmt::format("{} {}", pass_string(call), fmt::join(sizes, "x"));
}

}  // namespace mmrec::registry
