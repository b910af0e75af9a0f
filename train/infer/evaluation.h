#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/model.h"
#include "train/data/tokens.h"
#include "train/data/windows.h"

namespace mmrec {

using EvaluationObserver = std::function<void(int64_t tokens)>;

/// Loss of a model on the windows of a text, each from a fresh state.
class Evaluation {
 public:
  /// seed: the run's, for what the model draws. most_tokens: where the text has more, windows from all over it that have as many are taken, always
  /// the same; 0: all. piece: tokens, fewer than a window has, for mean_loss_in_pieces(); 0: without.
  Evaluation(const Config& config, int vocabulary, Parameters& parameters, uint64_t seed, WindowSet windows, int64_t most_tokens = 0, int piece = 0);

  /// With the parameters as they are now. Allocates nothing. `observe` is told how many tokens are done, batch by batch.
  LossSum run(const EvaluationObserver& observe = {});
  /// The mean loss of the same tokens in the windows' pieces, each from a fresh state. Of a last piece that is not whole, the tokens before
  /// are read along. Allocates nothing.
  double mean_loss_in_pieces();
  /// Of the last run: tokens of a window up to the first whose loss is not finite in one of them.
  int finite_tokens() const;
  /// What its models take, at most: for windows of T tokens.
  static size_t bytes(const Config& config, int T, int piece = 0);
  int window() const { return windows_.T(); }
  int64_t tokens() const { return static_cast<int64_t>(chosen_.size()) * windows_.T(); }

 private:
  /// A batch size and what belongs to it.
  struct Shape {
    std::unique_ptr<Model> model, piece;
    IntTensor ids, targets;
  };

  /// Calls `body` with the shape of each batch, which is filled.
  template <class Body>
  void for_each_batch(Body body);

  WindowSet windows_;
  Arena arena_;
  std::vector<Shape> shapes_;  // whole batches, then the rest
  std::vector<int> chosen_;    // windows
  std::vector<double> loss_;   // of the last run, summed over the windows: of each position in them
};

/// Loss of a model on a whole text from its first token to its last, with one state carried all the way. T: tokens that are
/// read at once; it changes rounding only. Where the loss is no longer finite it ends, and the result's `tokens` are those before that.
LossSum stream_loss(const Config& config, int vocabulary, Parameters& parameters, uint64_t seed, const Tokens& tokens, int T,
                    const EvaluationObserver& observe = {});

/// Why a loss is not finite, where it was for `tokens` from a fresh state on and the training's windows had `trained` (0: not known): the
/// state has grown beyond what the training saw of it, or the weights are bad.
std::string describe_overflow(int64_t tokens, int trained);

}  // namespace mmrec
