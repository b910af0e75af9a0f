#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mmrec::bench {

/// An innermost loop in a kernel's assembly (x86, AT&T syntax).
struct Loop {
  std::string function, label;
  /// Halide's name of the loop, for example "for_product_accumulator.s1.product_k$x".
  std::string name;
  std::vector<std::string> instructions;
};
std::vector<Loop> innermost_loops(std::string_view assembly);

/// Number of instructions of each kind in a loop. Each instruction counts for one kind.
struct InstructionMix {
  /// Fused multiply-adds, and the lanes of the widest one.
  int multiply_adds = 0, lanes = 0;
  int multiply_adds_of_memory = 0;  ///< multiply-adds with a memory operand
  int arithmetic = 0;               ///< float arithmetic except multiply-adds
  int broadcasts = 0, loads = 0, stores = 0;
  int others = 0;  ///< address arithmetic, counters, register moves, conversions, ..
};
InstructionMix instruction_mix(const Loop& loop);

/// Guesses the loop in which a kernel spends most of its time. Prefers, in this order: loops
/// without a branch inside, sums of products, most multiply-adds, most arithmetic, most
/// instructions.
///
/// A loop with branches handles a tile's edges, and llvm-mca would count all its paths as executed.
/// The loop of a sum runs many times per result, an epilogue only once, even if the epilogue has
/// more arithmetic, such as a long polynomial.
///
/// Throws an Error if there is no loop.
Loop hottest_loop(std::string_view assembly);

/// llvm-mca's prediction for a block of instructions that repeats.
struct Prediction {
  double cycles;      ///< per iteration
  double throughput;  ///< cycles per iteration if no latency limited it
  double instructions_a_cycle;
  /// Cycles per iteration that each used unit is busy.
  std::vector<std::pair<std::string, double>> pressure;
};
Prediction parse_prediction(std::string_view output);

/// Prints for each chosen kernel the hottest loop of its assembly, the instruction mix, llvm-mca's
/// prediction for this CPU and the resulting part of the FMA peak. `kernel` is "op:variant:pass",
/// or "op:variant" for all passes. Throws a UsageError if there is no such kernel.
void print_mca(const std::string& kernel);

}  // namespace mmrec::bench
