#pragma once

#include <string>

namespace mmrec {

/// What train, evaluate, search and tune say first: CPU, threads, the kernels' instruction sets and where their schedules are from.
std::string describe_machine(int threads);

}  // namespace mmrec
