#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/run/data.h"
#include "train/run/options.h"
#include "train/run/step_at_scale.h"

namespace mmrec {

constexpr int kMostRanks = 1024;

/// What to plan a run for: --ranks and what goes with it.
struct Scale {
  int ranks = 0;        ///< 0: no ranks are asked for
  std::string network;  ///< see parse_network; "": all ranks are on one machine like this
  int ranks_per_node = 1;
};

/// A run on several ranks.
struct ScalePlan {
  Link network;
  StepTerms terms;
  bool is_measured = false;  ///< else computed from rates of this machine
  struct Row {
    StepAtScale step;
    double tokens_per_second;
    double memory;  ///< of a rank, bytes
  };
  std::vector<Row> rows;  ///< for 1, 2, 4, .. ranks; the last one is what is asked for
};

/// Rates of this machine, FLOP/s.
struct Rates {
  double products = 0;   ///< of large matrix products, in the run's precision
  double step = 0;       ///< of a training step, which does more than its products
  double optimizer = 0;  ///< of the optimizer's products, with what is beside them
};

/// What plan_at_scale() needs to know of the run.
struct RunAtScale {
  TrainOptions options;  ///< with the vocabulary the text needs
  double memory = 0;     ///< of one process alone, bytes
  double machine_memory = 0;
  Rates rates = {};
};

/// Throws a UsageError for an impossible question.
void check_scale(const Scale& scale);

/// Times a rank's work for a few seconds, if models of the node's ranks fit into memory and their
/// parts are short; else computes it from the rates of products and of memory.
ScalePlan plan_at_scale(const Scale& scale, const RunAtScale& run, const RunData& data);

}  // namespace mmrec
