#include "support/strict_json.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "support/error.h"
#include "support/names.h"

namespace mmrec {

nlohmann::json parse_json(std::string_view text, std::string_view where, int max_depth) {
  using Event = nlohmann::json::parse_event_t;
  // keys of each object being parsed, outermost first
  std::vector<std::set<std::string>> open_objects;
  const auto check = [&](int depth, Event event, const nlohmann::json& parsed) {
    if ((event == Event::object_start || event == Event::array_start) && depth >= max_depth)
      fail("{}: nested deeper than {} levels", where, max_depth);
    if (event == Event::object_start) open_objects.emplace_back();
    if (event == Event::object_end) open_objects.pop_back();
    if (event == Event::key && !open_objects.back().insert(parsed.get<std::string>()).second)
      fail("{}: the key '{}' occurs twice in one object", where, parsed.get<std::string>());
    return true;
  };
  try {
    return nlohmann::json::parse(text, check);
  } catch (const nlohmann::json::parse_error& error) {
    // error.byte counts from 1.
    const std::string_view before = text.substr(0, std::max<size_t>(error.byte, 1) - 1);
    fail("{}: not valid JSON at line {}, column {}", where, std::ranges::count(before, '\n') + 1,
         before.size() - (before.rfind('\n') + 1) + 1);
  } catch (const nlohmann::json::exception&) {
    fail("{}: not valid JSON: a number is larger than a double can be", where);
  }
}

std::optional<uint64_t> whole_number(const nlohmann::json& value, uint64_t most) {
  if (!value.is_number_integer() || (!value.is_number_unsigned() && value.get<int64_t>() < 0))
    return std::nullopt;
  const auto number = value.get<uint64_t>();
  return number <= most ? std::optional(number) : std::nullopt;
}

std::string describe_changes(const nlohmann::json& before, const nlohmann::json& after) {
  std::set<std::string> names;
  for (const nlohmann::json* object : {&before, &after})
    for (const auto& [name, value] : object->items()) names.insert(name);
  const auto text = [](const nlohmann::json& object, const std::string& name) {
    return object.contains(name) ? plain_text(object.at(name)) : "none";
  };
  std::vector<std::string> changes;
  for (const std::string& name : names)
    if (!before.contains(name) || !after.contains(name) || before.at(name) != after.at(name))
      changes.push_back(fmt::format("{} {} -> {}", name, text(before, name), text(after, name)));
  return fmt::format("{}", fmt::join(changes, ", "));
}

std::string plain_text(const nlohmann::json& value) {
  if (value.is_number_float()) return fmt::format("{}", value.get<float>());
  return value.is_string() ? name_of_text(value.get<std::string>()) : value.dump();
}

}  // namespace mmrec
