#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mmrec::bench {

/// A loop that has no other inside, in a kernel's assembly (x86, AT&T syntax).
struct Loop {
  std::string function, label;
  std::string name;  ///< Halide's, of the loop variable: "for_product_accumulator.s1.product_k$x"
  std::vector<std::string> instructions;
};
std::vector<Loop> innermost_loops(std::string_view assembly);

/// What a loop's instructions do; each counts once.
struct InstructionMix {
  int multiply_adds = 0, lanes = 0;  ///< fused ones, and the lanes of the widest
  int multiply_adds_of_memory = 0;   ///< of them with an operand that is loaded
  int arithmetic = 0;                ///< of floats, without multiply-adds
  int broadcasts = 0, loads = 0, stores = 0;
  int others = 0;  ///< of addresses and counters, moves between registers, ..
};
InstructionMix instruction_mix(const Loop& loop);

/// The loop where a kernel spends its time, as far as that can be seen: the one with most
/// multiply-adds, else most arithmetic, else most instructions, of the loops without a branch if
/// there are such ones, and of these of sums of products if there are such ones. (What branches is
/// what is done at a tile's edges, and llvm-mca would take it as if it all ran. A sum's loop runs
/// for each result, on which an epilogue works once, with a long polynomial perhaps.) Throws an
/// Error if there is no loop.
Loop hottest_loop(std::string_view assembly);

/// What llvm-mca says of a block of instructions that runs again and again.
struct Prediction {
  double cycles;      ///< an iteration
  double throughput;  ///< cycles that an iteration would take without any latency
  double instructions_a_cycle;
  std::vector<std::pair<std::string, double>>
      pressure;  ///< cycles an iteration that a unit is busy; only those that are used
};
Prediction parse_prediction(std::string_view output);

/// Prints, for a kernel "op:variant:pass" or all passes of "op:variant", the hottest loop of its
/// assembly, its instruction mix, llvm-mca's prediction for this CPU, and the part of the FMA peak
/// that follows.
void print_mca(const std::string& kernel);

}  // namespace mmrec::bench
