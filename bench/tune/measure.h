#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "bench/tune/log.h"
#include "bench/tune/step.h"

namespace mmrec::tune {

/// Times of a training step and of every call in it, with the kernels of this program.
struct Measured {
  Timing step;
  double step_tokens = 0;
  struct OfCall {
    Call call;
    std::string kernel, level;
    Timing seconds;
  };
  std::vector<OfCall> calls;
};

Measured measure(const ModelStep& step, uint64_t seed);
nlohmann::json measured_json(const Measured& measured);

/// Runs `measure` of this program and of `before` in turn, in several rounds, and prints both
/// results side by side.
void print_before_after(const std::filesystem::path& before, const ModelStep& step, int threads,
                        uint64_t seed, bool json);

}  // namespace mmrec::tune
