#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/tune/step.h"

namespace mmrec::tune {

/// What all subcommands share.
struct Common {
  uint64_t seed = 42;
  int threads = 1;
  bool quiet = false, json = false;
};

/// Which calls are meant: those of steps, or of an operation.
struct Selection {
  std::vector<std::string> configs = {"tiny"};
  int batch = 2, sequence = 256;
  std::string op, pass;  ///< empty: all
  std::string shape;     ///< "512x128x128"; empty: those of the steps
};

struct SweepCommand {
  Selection selection;
  std::string budget = "5m";
  bool grid = false;
  double compile_limit = 60;
};

void list(const Common& common, const Selection& selection);
void sweep(const Common& common, const SweepCommand& command);
void show(const Common& common);
void compare(const Common& common, const Selection& selection);
void apply(const Common& common);
void verify(const Common& common);
void measure(const Common& common, const ModelStep& step, bool alone);

/// The calls that are meant, with their parts of the steps' time.
std::vector<StepCall> selected_calls(const Selection& selection, uint64_t seed);

/// "90", "90s", "5m", "1h" in seconds.
double parse_duration(const std::string& text);

}  // namespace mmrec::tune
