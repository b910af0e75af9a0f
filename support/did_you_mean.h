#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mmrec {

/// "; did you mean NAME?" with the candidate that is nearest to a mistyped name, "" where there is none.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace mmrec
