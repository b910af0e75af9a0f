#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <utility>

#include "support/console.h"

namespace mmrec::bench {

/// A line at once, also into a pipe: measuring takes its time.
template <class... Args>
void print_line(fmt::format_string<Args...> format, Args&&... args) {
  print(stdout, fmt::format(format, std::forward<Args>(args)...) + "\n");
}

}  // namespace mmrec::bench
