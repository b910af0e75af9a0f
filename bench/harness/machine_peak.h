#pragma once

#include <string>

#include "bench/harness/other_load.h"
#include "runtime/context.h"

namespace mmrec::bench {

/// Rates that can be reached, per second.
struct Peak {
  /// Float operations by fused multiply-adds (two operations each) on independent registers.
  double flops = 0;
  /// The same with bfloat16 factors, which are multiplied in pairs (four operations each). 0 if
  /// the CPU has no instruction for them, or this process no kernels (why_no_bf16).
  double bf16_flops = 0;
  /// Bytes read plus bytes written while copying arrays far larger than the last-level cache.
  double bytes = 0;
  /// The same without streaming stores. The CPU then reads each line before writing it; these reads
  /// are not counted.
  double plain_bytes = 0;

  /// Operations of products whose factors are rounded to a precision. Without the instruction
  /// kernels multiply bfloat16 as floats.
  double flops_in(Precision precision) const {
    return precision == Precision::kBf16 && bf16_flops > 0 ? bf16_flops : flops;
  }
};

/// The limits of this machine. Every row is compared with them.
struct MachinePeak {
  Peak all_threads, one_thread;
  std::string vectors;  ///< instruction set of the multiply-adds
  int threads = 1;
  double other_load = 0;  ///< cores that other programs used during the measurement

  /// How many times one thread's operations all threads do together, at the peak where that is
  /// less.
  double speed_up() const;
  /// Whether all threads together reach less than 80 % of the sum of single threads. Then other
  /// programs use the cores, or threads share cores.
  bool falls_short() const { return speed_up() < 0.8 * threads; }
  /// Whether the measured peak may be too low. The rows' parts of the peak are then too high.
  bool disturbed() const { return other_load > kQuiet || falls_short(); }
  /// Explains why the peak is disturbed.
  std::string disturbance() const;
};

/// Measures the peak on num_threads() threads, in about one second: the best of several short tries
/// per rate. Uses the widest vectors of the CPU, independent of the kernels' target. Repeats the
/// measurement if other programs run meanwhile.
MachinePeak measure_machine_peak();

}  // namespace mmrec::bench
