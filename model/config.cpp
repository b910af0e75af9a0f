#include "model/config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "model/architecture.h"
#include "model/config_file.h"
#include "support/error.h"
#include "support/parse_number.h"

namespace mmrec {

namespace {

using nlohmann::json;

/// Calls visit(name, field) for every field. All code that reads, writes or lists fields uses it.
template <class C, class Visit>
void for_each_field(C& c, Visit&& visit) {
  visit("arch", c.arch);
  visit("vocab_size", c.vocab_size);
  visit("dim", c.dim);
  visit("layers", c.layers);
  visit("heads", c.heads);
  visit("max_seq", c.max_seq);
  visit("mem_slots", c.mem_slots);
  visit("hem", c.hem);
  visit("dpg", c.dpg);
  visit("dpg_rank", c.dpg_rank);
  visit("uboo", c.uboo);
  visit("lambda_p", c.lambda_p);
  visit("chunk_size", c.chunk_size);
  visit("carry_state", c.carry_state);
  visit("memory", c.memory);
  visit("gates", c.gates);
}

std::vector<std::string> field_names() {
  std::vector<std::string> names;
  const Config config;
  for_each_field(config, [&](const char* name, const auto&) { names.push_back(name); });
  return names;
}

/// Returns the names of the fields that a configuration's architecture reads.
std::vector<std::string_view> read_fields(const Config& config) {
  std::vector<std::string_view> fields = {"arch", "vocab_size", "dim", "layers", "max_seq"};
  const std::vector<std::string_view> of_block = make_block(config, 1, 1)->fields();
  fields.insert(fields.end(), of_block.begin(), of_block.end());
  return fields;
}

/// Calls visit(name, field, its default) for every field that the architecture does not read.
template <class C, class Visit>
void for_each_unread_field(C& c, Visit&& visit) {
  const std::vector<std::string_view> read = read_fields(c);
  const json defaults = to_json(Config{});
  for_each_field(c, [&](const char* name, auto& field) {
    using T = std::remove_cvref_t<decltype(field)>;
    if (std::ranges::count(read, std::string_view(name)) == 0)
      visit(name, field, defaults[name].get<T>());
  });
}

struct Preset {
  const char* name;
  int vocab_size, dim, layers, heads, max_seq;
  bool dpg = false, uboo = false;
  int mem_slots = 1024;
};

// The documented sizes.
constexpr std::array kPresets{
    Preset{"tiny", 5000, 128, 4, 4, 1024},
    Preset{"mini", 10000, 256, 6, 4, 2048},
    Preset{"small", 20000, 512, 8, 8, 4096},
    Preset{"base", 32000, 1024, 12, 8, 8192},
    Preset{"medium", 32000, 2048, 16, 16, 16384, true},
    Preset{"large", 32000, 3072, 20, 24, 32768, true, true},
    Preset{"7b", 32000, 4096, 24, 32, 32768, true, true, 128},  // 8 slots of full width
};

template <class T>
const char* type_name() {
  if constexpr (std::is_same_v<T, bool>) return "true or false";
  if constexpr (std::is_same_v<T, int>) return "a whole number from 0 to 2147483647";
  if constexpr (std::is_same_v<T, float>) return "a number";
  return "a string";
}

template <class T>
bool has_type(const json& value) {
  if constexpr (std::is_same_v<T, bool>) return value.is_boolean();
  if constexpr (std::is_same_v<T, int>)
    return value.is_number_integer() && value >= 0 && value <= INT32_MAX;
  if constexpr (std::is_same_v<T, float>)
    return value.is_number() && std::isfinite(value.get<float>());
  return value.is_string();
}

void assign(Config& config, const std::string& field, const json& value, std::string_view where) {
  bool known = false;
  for_each_field(config, [&](const char* name, auto& target) {
    if (field != name) return;
    known = true;
    using T = std::remove_reference_t<decltype(target)>;
    if (!has_type<T>(value))
      fail_usage("{}: field '{}' must be {}, not {}", where, field, type_name<T>(),
                 value.dump(-1, ' ', false, json::error_handler_t::replace));
    target = value.get<T>();
  });
  if (!known)
    fail_usage("{}: unknown field '{}'; the fields are {}", where, field,
               fmt::join(field_names(), ", "));
}

bool sets_architecture(std::string_view assignment) { return assignment.starts_with("arch="); }

/// Returns `base` with the fields of a JSON object: first the architecture, which decides on the
/// others' defaults.
Config assigned(const json& json, const Config& base, std::string_view where) {
  if (!json.is_object()) fail_usage("{}: expected a JSON object of configuration fields", where);
  Config config = base;
  if (json.contains("arch")) {
    assign(config, "arch", json["arch"], where);
    config = without_unread_fields(config);
  }
  for (const auto& [field, value] : json.items()) assign(config, field, value, where);
  return config;
}

}  // namespace

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const Preset& preset : kPresets) names.push_back(preset.name);
  return names;
}

Config preset(std::string_view name, const Config& base) {
  for (const Preset& preset : kPresets)
    if (preset.name == name) {
      Config config = base;
      config.vocab_size = preset.vocab_size;
      config.dim = preset.dim;
      config.layers = preset.layers;
      config.heads = preset.heads;
      config.max_seq = preset.max_seq;
      config.dpg = preset.dpg;
      config.uboo = preset.uboo;
      config.mem_slots = preset.mem_slots;
      return without_unread_fields(config);
    }
  fail_usage("there is no preset '{}'; there are {}", name, fmt::join(preset_names(), ", "));
}

json to_json(const Config& config) {
  json result = json::object();
  for_each_field(config, [&](const char* name, const auto& value) { result[name] = value; });
  return result;
}

Config config_from_json(const json& json, const Config& base, std::string_view where) {
  const Config config = assigned(json, base, where);
  check_config(config);
  return config;
}

Config config_from_record(const json& json, std::string_view where) {
  const Config config = without_unread_fields(assigned(json, Config{}, where));
  check_config(config);
  return config;
}

void set_field(Config& config, std::string_view assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string_view::npos) fail_usage("--set {}: expected field=value", assignment);
  const std::string field(assignment.substr(0, equals)), text(assignment.substr(equals + 1));
  // The text alone decides the type of the value; assign() compares it with the field's type.
  json value = text;
  if (text == "true" || text == "false")
    value = text == "true";
  else if (const auto whole = parse_number<int64_t>(text))
    value = *whole;
  else if (const auto number = parse_number<double>(text); number && std::isfinite(*number))
    value = *number;
  assign(config, field, value, "--set");
}

bool asks_for_architecture(const std::vector<std::string>& assignments) {
  return std::ranges::any_of(assignments, sets_architecture);
}

Config base_for(const std::vector<std::string>& assignments, Config base) {
  for (const std::string& assignment : assignments)
    if (sets_architecture(assignment)) set_field(base, assignment);
  return without_unread_fields(base);
}

Config without_unread_fields(Config config) {
  for_each_unread_field(config, [](const char*, auto& field, const auto& unset) { field = unset; });
  return config;
}

void require_field(bool holds, const char* field, const std::string& problem) {
  if (!holds) fail_usage("configuration: {} {}", field, problem);
}

void check_config(const Config& c) {
  // far beyond any model; keeps products of sizes in range
  constexpr int kMaxDim = 1 << 16, kMaxLayers = 1 << 12;
  require_field(c.vocab_size >= 2, "vocab_size",
                fmt::format("must be at least 2, not {}", c.vocab_size));
  require_field(c.dim >= 4 && c.dim <= kMaxDim && c.dim % 4 == 0, "dim",
                fmt::format("must be a multiple of 4 up to {}, not {}", kMaxDim, c.dim));
  require_field(c.layers >= 1 && c.layers <= kMaxLayers, "layers",
                fmt::format("must be between 1 and {}, not {}", kMaxLayers, c.layers));
  require_field(c.max_seq >= 1, "max_seq", fmt::format("must be at least 1, not {}", c.max_seq));
  for_each_unread_field(c, [&](const char* name, const auto& value, const auto& unset) {
    require_field(value == unset, name,
                  fmt::format("is {}, but arch {} does not read it; it reads {}. Leave it out, or "
                              "set it to its default, {}",
                              value, c.arch, fmt::join(read_fields(c), ", "), unset));
  });
  make_block(c, 1, 1)->check_values();
}

Config with_carried_state(Config config) {
  config.carry_state = true;
  return config;
}

}  // namespace mmrec
