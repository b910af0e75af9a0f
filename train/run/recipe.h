#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "model/config.h"
#include "train/run/data.h"
#include "train/run/options.h"

namespace mmrec {

/// Returns whether the recipe for a text of one's own chooses what nobody gave, in place of the
/// documented run's values: for any text but the built-in one, unless --recipe says otherwise.
bool has_recipe(const TrainOptions& options);

/// Returns the optimizer that a run with these options gets, before apply_recipe() or after it.
std::string optimizer_of(const TrainOptions& options);

/// The fields that a new model begins with, before presets and what was given.
Config recipe_config();

/// Returns how many steps of `options`, with all that a run does beside them, fit into the seconds.
using StepsWithin = std::function<int64_t(double seconds, const TrainOptions& options)>;

/// Returns the tokens of a new run on a text file of which `bytes` bytes are trained on: what was
/// asked for, else the recipe's choice, which is that of choose_tokens(), or characters.
TokenChoice tokens_of_run(const TrainOptions& options, int64_t bytes);

/// Chooses the precision of a new run, where nobody gave it: bf16 where has_recipe() holds, a time
/// is what limits the run, and all that compute have kernels for it. More steps fit into the time
/// then. (A run of a number of steps stays the same on every CPU.) Call it before apply_recipe(),
/// which says it.
void choose_precision(TrainOptions& options, bool has_bf16);

/// Completes the options of a new run with `config`: where has_recipe() holds, chooses what nobody
/// gave (TrainOptions::given), optimizer and rates, batch and window, dropout, steps, validations
/// and checkpoints, by the size of the text and of the model; and turns options.time into steps,
/// where it is long of a larger model. Returns a line for people that says what was chosen, or "".
/// docs/training.md, "Recipes", has the rules and the experiments.
std::string apply_recipe(TrainOptions& options, const RunData& data,
                         const StepsWithin& steps_within);

/// In TrainOptions::given: somebody gave the size of the model, which is part of its configuration.
inline constexpr const char* kSize = "config";

/// Returns whether apply_recipe() chooses the option of this name.
bool recipe_chooses(std::string_view option);

/// Number of validations in a run of so many tokens: about twenty, fewer in a short run, where
/// their tokens (validation_tokens()) would take more than some 5 % of the time.
int validation_count(double tokens);
/// Chooses how often a run of so many steps validates and saves, and its patience, where nobody
/// gave that.
void choose_intervals(TrainOptions& options, int64_t steps);

/// Throws a UsageError if there is no recipe of this name.
void check_recipe(std::string_view name);

/// Parses a duration: "90", "90s", "5m", "1h30m". Returns seconds; throws a UsageError for anything
/// else, and for 0.
double parse_duration(const std::string& text);

}  // namespace mmrec
