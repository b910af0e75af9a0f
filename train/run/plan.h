#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "model/parameters.h"
#include "support/console.h"
#include "train/run/options.h"
#include "train/run/scale_plan.h"

namespace mmrec {

/// The resources a run would need. Memory and disk are in bytes.
struct Plan {
  std::string phase = {};  ///< of a growing run: "phase 1 of 2, tiny: steps 1 to 2000"
  TrainOptions options;    ///< with the vocabulary the text needs
  int64_t parameters = 0, embedding_parameters = 0;
  double weights = 0, gradients = 0, moments = 0, activations = 0, validation = 0, sample = 0,
         text = 0, program = 0;
  double average = 0;  ///< of the weights, with --average
  double smaller = 0;  ///< the weights that a phase of a growing run begins from
  bool text_is_on_disk = false;
  double machine_memory = 0;
  bool memory_is_limited = false;  ///< a control group allows less than the machine has
  double checkpoint = 0;
  int64_t checkpoints = 0;  ///< on disk at the end
  double flops_per_token = 0;
  Rates rates = {};
  double tokens_per_second = 0;
  int64_t train_tokens = 0, validation_tokens = 0;
  const char* unit = "";  ///< what the tokens of the text are called
  int64_t steps = 0, steps_per_epoch = 0, tokens_per_step = 0;
  std::string recipe = {};                 ///< what apply_recipe() says, or ""
  std::string warmup_warning = {};         ///< "" if the warm-up is shorter than the run
  std::vector<Note> notes = {};            ///< remarks about the text, from RunData
  std::optional<ScalePlan> at_scale = {};  ///< on several ranks, if somebody asks for it

  double memory() const;
  bool trainable() const { return parameters <= kMostParameters; }
  double disk() const { return static_cast<double>(checkpoints) * checkpoint; }
  int64_t tokens() const { return steps * tokens_per_step; }
  double seconds() const { return static_cast<double>(tokens()) / tokens_per_second; }
};

/// Computes the plan of a run, of a growing one a plan for each phase. Measures the rate of matrix
/// products, for a quarter of a second a precision. Makes no model that would not fit, so any
/// configuration works, also those that this version cannot train. Where ranks are asked for, times
/// a rank's steps too.
std::vector<Plan> plan(const TrainOptions& options, const Scale& scale = {});

/// Formats the plans for people, and as JSON: an object for a run of one size, else {"phases":
/// [..], "steps", "tokens", "seconds", "memory_bytes"}.
std::string plan_text(const std::vector<Plan>& plans);
nlohmann::ordered_json to_json(const std::vector<Plan>& plans);

}  // namespace mmrec
