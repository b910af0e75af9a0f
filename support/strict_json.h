#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace mmrec {

/// Parses a whole text as JSON. Stricter than the grammar: throws an Error for a key that occurs
/// twice in one object (which value would count?) and for nesting deeper than max_depth (1: an
/// object or array of plain values), so that a hostile file cannot use much more memory than its
/// size suggests. Errors name `where` (a file) and the position in the text.
nlohmann::json parse_json(std::string_view text, std::string_view where, int max_depth = 8);

/// Returns a JSON integer from 0 to `most`; nullopt for anything else, including 1e3.
std::optional<uint64_t> whole_number(const nlohmann::json& value, uint64_t most = INT64_MAX);

/// Returns "dim 128 -> 64, memory none -> learned": the fields that differ between two objects or
/// that one of them lacks; "" if there are none.
std::string describe_changes(const nlohmann::json& before, const nlohmann::json& after);
/// Formats a plain value for people: without quotes; a float as its shortest text.
std::string plain_text(const nlohmann::json& value);

}  // namespace mmrec
