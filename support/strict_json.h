#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace mmrec {

/// Parses a whole text as JSON. More than JSON's grammar asks, it refuses a key that occurs twice in one object (which value
/// would count?) and nesting deeper than max_depth (1: an object or array of plain values), so that a hostile file costs no
/// more memory than its own size suggests. Errors name `where` (a file) and the position in the text.
nlohmann::json parse_json(std::string_view text, std::string_view where, int max_depth = 8);

/// A JSON number that is a whole one from 0 to `most`; nothing for anything else, also for 1e3.
std::optional<uint64_t> whole_number(const nlohmann::json& value, uint64_t most = INT64_MAX);

/// "dim 128 -> 64, memory none -> learned": the fields that are different in two objects, or missing in one; "" where none is.
std::string describe_changes(const nlohmann::json& before, const nlohmann::json& after);
/// A plain value as people write it: no quotes, and the shortest text of a float.
std::string plain_text(const nlohmann::json& value);

}  // namespace mmrec
