#pragma once

#include <string>
#include <vector>

#include "model/model.h"
#include "runtime/context.h"
#include "train/data/windows.h"
#include "train/ranks/gradient_sum.h"
#include "train/ranks/ranks.h"

namespace mmrec {

/// Computes the gradients of a training step. Processes `accumulate` batches, its parts, one after
/// the other and averages their gradients. The result equals one batch of all windows, except for
/// rounding and the dropout masks, but needs the memory of one batch only. The ranks divide the
/// parts among themselves: the same gradients, bit for bit, with any number of ranks. Computes with
/// the context that was current at construction, like its model.
class TrainingStep {
 public:
  struct Settings {
    int batch, accumulate;
    float dropout;
    uint64_t seed;
    bool recompute = false;
    int streams = 0;  ///< whose state is carried, see BatchOrder; 0: none
    GradientSum::Order order = GradientSum::Order::kTree;
    Precision precision = Precision::kFloat32;  ///< the model's
  };
  TrainingStep(const Config& config, int vocabulary, Parameters& parameters,
               const WindowSet& windows, const Settings& settings, Ranks& ranks = Ranks::alone());

  /// Runs step number `step` (from 1) on batch * accumulate windows; leaves the gradient in
  /// parameters.gradients(). With streams, starts from their carried states, which only
  /// keep_states() replaces. No gradient flows into earlier steps. If a batch's loss is not
  /// finite, skips the remaining batches and returns a non-finite loss. One process alone allocates
  /// nothing. Throws Interrupted (threads.h) when stopped, on all ranks if one of them is; only the
  /// gradients have changed then.
  LossSum run(int64_t step, const Batch& batch);

  const GradientSum::Times& rank_times() const { return gradient_sum_.times(); }
  bool has_auxiliary_loss() const { return model_.has_auxiliary_loss(); }
  /// Recurrent states of the streams, [L][streams][state_width]. Null without streams.
  const Tensor& states() const { return states_; }
  /// Replaces those of the last run's batch by the states at its end: its step counts.
  void keep_states(const Batch& batch);

  /// Returns where the first non-finite value of the last run appeared: a weight, an intermediate
  /// result, or a gradient.
  std::string first_non_finite();
  /// Bytes of activations.
  size_t bytes() const { return model_.bytes() + arena_.used() + gradient_sum_.bytes(); }

 private:
  void compute(int part, int64_t step, const Batch& batch, int shift,
               const GradientSum::ChunksDone& done);
  /// Gives all ranks the parts' sums. Throws Interrupted if one of the ranks was `interrupted`.
  void gather_sums(bool interrupted);
  /// Gives all ranks the states at the end of all rows.
  void gather_states();
  /// Sets the model's state for a part of the batch: zeros, or the state of a row's stream.
  void load_states(int part, const Batch& batch);
  /// Copies the model's state to the part's rows of next_states_, if there are streams.
  void store_states(int part);

  Context& context_;
  const WindowSet& windows_;
  Settings settings_;
  Ranks& ranks_;
  Parameters& parameters_;
  GradientSum gradient_sum_;
  std::vector<LossSum> sums_;  // of the parts
  Model model_;
  Arena arena_;
  IntTensor ids_, targets_;
  Tensor states_, next_states_;  // next: of the batch's rows
};

}  // namespace mmrec
