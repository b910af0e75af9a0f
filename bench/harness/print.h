#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <utility>

#include "support/console.h"

namespace mmrec::bench {

/// Prints a line and flushes, also into a pipe: measurements take long, and the reader sees each
/// result at once.
template <class... Args>
void print_line(fmt::format_string<Args...> format, Args&&... args) {
  print(stdout, fmt::format(format, std::forward<Args>(args)...) + "\n");
}

}  // namespace mmrec::bench
