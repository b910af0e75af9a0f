#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "model/model.h"
#include "train/tokens.h"
#include "train/windows.h"

namespace mmrec {

using EvaluationObserver = std::function<void(int64_t positions)>;

/// Loss of a model on the windows of a text, each from a fresh state, with the fixed memory of evaluation.
class Evaluation {
 public:
  /// most_tokens: where the text has more, windows from all over it that have as many are taken, always the same; 0: all.
  Evaluation(const Config& config, int vocabulary, Parameters& parameters, uint64_t memory_seed, WindowSet windows, int64_t most_tokens = 0);

  /// With the parameters as they are now. Allocates nothing. `observe` is told the positions that are done, batch by batch; `blocks` may
  /// end it in the middle.
  LossSum run(const EvaluationObserver& observe = {}, const BlockObserver& blocks = {});
  /// What its models take, at most: for windows of T tokens.
  static size_t bytes(const Config& config, int T);
  int64_t positions() const { return static_cast<int64_t>(chosen_.size()) * windows_.T(); }

 private:
  /// A batch size and what belongs to it.
  struct Shape {
    std::unique_ptr<Model> model;
    IntTensor ids, targets;
  };

  WindowSet windows_;
  Arena arena_;
  Memory memory_;
  std::vector<Shape> shapes_;  // whole batches, then the rest
  std::vector<int> chosen_;    // windows
};

/// Loss of a model on a whole text from its first token to its last, with one state carried all the way. T: tokens that are
/// read at once; it changes rounding only.
LossSum stream_loss(const Config& config, int vocabulary, Parameters& parameters, uint64_t memory_seed, const Tokens& tokens, int T,
                    const EvaluationObserver& observe = {});

}  // namespace mmrec
