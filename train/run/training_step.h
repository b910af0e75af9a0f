#pragma once

#include <span>
#include <string>

#include "model/model.h"
#include "runtime/context.h"
#include "train/data/windows.h"

namespace mmrec {

/// A training step up to the gradients. It takes `accumulate` batches one after the other and averages their gradients: the
/// same step as with one batch of all their windows, but for rounding and dropout's masks, in the memory of one batch. Like its model, it
/// computes with the context that was current when it was made.
class TrainingStep {
 public:
  struct Settings {
    int batch, accumulate;
    float dropout;
    uint64_t seed;
  };
  TrainingStep(const Config& config, int vocabulary, Parameters& parameters, const WindowSet& windows, const Settings& settings);

  /// Step number `step` (from 1) on batch * accumulate windows; the gradient is in the parameters' gradients afterwards. The
  /// loss is not finite where any batch's was not; the batches after it are not computed. Allocates nothing. Interrupted (threads.h)
  /// ends the step; nothing but gradients has changed then.
  LossSum run(int64_t step, const Batch& batch);

  /// Where something that is not finite came up first in the last run: in a weight, on the way to the loss, or in a gradient.
  std::string first_non_finite() const;
  /// Of activations.
  size_t bytes() const { return model_.bytes() + arena_.used(); }

 private:
  Context& context_;
  const WindowSet& windows_;
  Settings settings_;
  Parameters& parameters_;
  Model model_;
  Arena arena_;
  IntTensor ids_, targets_;
};

}  // namespace mmrec
