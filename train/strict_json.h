#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace mmrec {

/// Parses a whole text as JSON. More than JSON's grammar asks, it refuses a key that occurs twice in one object (which value
/// would count?) and nesting deeper than max_depth (1: an object or array of plain values), so that a hostile file costs no
/// more memory than its own size suggests. Errors name `where` (a file) and the position in the text.
nlohmann::json parse_json(std::string_view text, std::string_view where, int max_depth = 8);

}  // namespace mmrec
