#pragma once

#include <string>

#include "bench/harness/other_load.h"

namespace mmrec::bench {

/// What can be done in a second.
struct Peak {
  double flops =
      0;  ///< fused multiply-adds of floats, two operations each, in independent registers
  double bytes = 0;  ///< read and written by copying arrays far larger than the last-level cache
  double plain_bytes =
      0;  ///< the same without streaming stores: the lines written are read first, uncounted
};

/// This machine's limits, which every row is compared with.
struct MachinePeak {
  Peak all_threads, one_thread;
  std::string vectors;  ///< the instruction set of the multiply-adds
  int threads = 1;
  double other_load = 0;  ///< cores that other programs took meanwhile

  /// Whether all threads together fall far short of each alone: other programs take their share, or
  /// threads share cores.
  bool falls_short() const { return all_threads.flops < 0.8 * threads * one_thread.flops; }
  /// Whether this may be less than the machine can do, so that rows' parts of it are too high.
  bool disturbed() const { return other_load > kQuiet || falls_short(); }
  /// In words what is the matter when it is disturbed.
  std::string disturbance() const;
};

/// Takes about a second on num_threads() threads: the best of several short tries each, with the
/// widest vectors that the CPU has, whatever the kernels were compiled for. Where other programs
/// run meanwhile, it is tried again.
MachinePeak measure_machine_peak();

}  // namespace mmrec::bench
