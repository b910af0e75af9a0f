#pragma once

#include <span>

#include "runtime/kernel_choice.h"

namespace mmrec {

/// The kernels that were compiled for one target, and the schedule tables' rows for them.
struct KernelTable {
  const char* isa;                       ///< its tier: avx512, .. (cpu_info.h)
  const char* target;                    ///< Halide's name of it
  std::span<const KernelEntry> kernels;  ///< without levels, which depend on the CPU
  std::span<const ScheduleRow> rows;     ///< those for every CPU
};

/// Returns the tables of this build, in MMREC_TARGET's order, the best first.
std::span<const KernelTable> kernel_tables();

}  // namespace mmrec
