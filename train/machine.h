#pragma once

#include <string>

namespace mmrec {

/// What a program that computes says first: CPU, threads, the kernels' instruction sets and where their schedules are from.
std::string describe_machine();

}  // namespace mmrec
