#pragma once

#include <fmt/core.h>

#include <concepts>
#include <string>
#include <string_view>

namespace mmrec {

/// Returns a number of things in words: "1 step", "2 steps".
std::string counted(std::integral auto count, std::string_view thing) {
  return fmt::format("{} {}{}", count, thing, count == 1 ? "" : "s");
}

}  // namespace mmrec
