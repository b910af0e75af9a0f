#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bench/tune/step.h"
#include "runtime/kernel_registry.h"

namespace mmrec::tune {

/// Options of all subcommands.
struct Common {
  uint64_t seed = 42;
  int threads = 1;
  bool quiet = false, json = false;
};

/// Selects calls: those of training steps, or those of one operation.
struct Selection {
  std::vector<std::string> configs = {"tiny"};
  int batch = 2, sequence = 256;
  Precision precision = Precision::kFloat32;
  std::string op, pass;  ///< empty: all
  std::string shape;     ///< "512x128x128"; empty: the shapes of the steps

  /// The training step of one of the configs.
  ModelStep step(const std::string& config) const { return {config, batch, sequence, precision}; }
};

struct SweepCommand {
  Selection selection;
  std::string budget = "5m";
  bool grid = false;
  double compile_limit = 60;
};

void list(const Common& common, const Selection& selection);
void sweep(const Common& common, const SweepCommand& command);
void show(const Common& common, const Selection& selection);
void compare(const Common& common, const Selection& selection);
void apply(const Common& common);
void verify(const Common& common);
void measure(const Common& common, const ModelStep& step, bool alone);

/// Returns the calls of this shape that the kernels serve and that have a workload.
std::vector<StepCall> calls_of_shape(std::span<const KernelEntry* const> kernels,
                                     const std::string& shape);
/// Returns the selected calls with their time in the steps. Throws a UsageError if there are none.
std::vector<StepCall> selected_calls(const Selection& selection, uint64_t seed);

/// Parses "90", "90s", "5m" or "1h" into seconds. Throws a UsageError.
double parse_duration(const std::string& text);

}  // namespace mmrec::tune
