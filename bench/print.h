#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <utility>

namespace mmrec::bench {

/// A line at once, also into a pipe: measuring takes its time.
template <class... Args>
void print_line(fmt::format_string<Args...> format, Args&&... args) {
  fmt::print(format, std::forward<Args>(args)...);
  fmt::print("\n");
  std::fflush(stdout);
}

}  // namespace mmrec::bench
