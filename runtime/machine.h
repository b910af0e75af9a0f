#pragma once

#include <string>

namespace mmrec {

/// Returns the first line that train, evaluate, search and tune print: CPU, thread count,
/// instruction sets of the kernels and the source of their schedules.
std::string describe_machine(int threads);

}  // namespace mmrec
