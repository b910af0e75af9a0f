#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mmrec {

/// Returns "; did you mean NAME?" with the candidates that begin with a mistyped name, or else the
/// closest one; "" if none is close.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace mmrec
