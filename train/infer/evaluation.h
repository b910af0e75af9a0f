#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/model.h"
#include "train/data/tokens.h"
#include "train/data/windows.h"
#include "train/ranks/ranks.h"

namespace mmrec {

using EvaluationObserver = std::function<void(int64_t tokens)>;

/// Loss of a model on the windows of a text, each window from a zero state.
class Evaluation {
 public:
  /// seed: the run's, for the model's random arrays. most_tokens: limit; a longer text is sampled
  /// by windows spread evenly over it, always the same; 0: all. piece: length in tokens, less than
  /// a window, for mean_loss_in_pieces(); 0: none. precision: the models'.
  Evaluation(const Config& config, int vocabulary, Parameters& parameters, uint64_t seed,
             WindowSet windows, int64_t most_tokens = 0, int piece = 0,
             Precision precision = Precision::kFloat32);

  /// Evaluates the current parameters. One process alone allocates nothing. `observe` is called
  /// after each batch with the tokens done. The ranks divide the batches among themselves; all get
  /// the sum. Throws Interrupted (threads.h) on all of them if one is stopped.
  LossSum run(const EvaluationObserver& observe = {}, Ranks& ranks = Ranks::alone());
  /// Returns the mean loss of the same tokens, with every window cut into pieces that start from a
  /// zero state. An incomplete last piece is extended backwards; only its own tokens count. Ranks
  /// as in run().
  double mean_loss_in_pieces(Ranks& ranks = Ranks::alone());
  /// In the last run: position of the first token with a non-finite loss in any window, or T.
  int finite_tokens() const;
  /// Returns the models' memory in bytes, of an evaluation of `windows` windows of T tokens.
  static size_t bytes(const Config& config, int64_t windows, int T, int piece, Precision precision);
  /// Returns the tokens of all its models together: those computed at once, for each batch size.
  static int64_t tokens_at_once(int64_t windows, int T);
  int window() const { return windows_.T(); }
  int64_t tokens() const { return static_cast<int64_t>(chosen_.size()) * windows_.T(); }

 private:
  /// The models and tensors for one batch size.
  struct Shape {
    std::unique_ptr<Model> model, piece;
    IntTensor ids, targets;
  };

  /// Fills the tensors for each batch of this rank and calls `body` with its number and shape.
  template <class Body>
  void for_each_batch(Ranks& ranks, Body body);
  /// Computes `values`, one a batch, with `body`, which is called as for_each_batch calls it, and
  /// gives all ranks those of all.
  template <class Value, class Body>
  void compute(Ranks& ranks, std::vector<Value>& values, Body body);
  size_t batch_count() const;

  WindowSet windows_;
  Arena arena_;
  std::vector<Shape> shapes_;  // full batches; then the remainder, if any
  std::vector<int> chosen_;    // windows to evaluate
  std::vector<double> loss_;   // per position, summed over this rank's windows of the last run
  std::vector<LossSum> sums_;  // of the batches
  std::vector<double> losses_in_pieces_;
};

/// Returns how many windows an evaluation of at most `most_tokens` tokens (0: all) takes of `count`
/// windows of T tokens: one at least.
int64_t evaluated_windows(int64_t count, int T, int64_t most_tokens);

/// Loss of a model on a whole text, with one state carried from the first token to the last. T:
/// tokens per call of the model; it affects rounding only. Stops at the first non-finite loss;
/// `tokens` is then the number of tokens before it.
LossSum stream_loss(const Config& config, int vocabulary, Parameters& parameters, uint64_t seed,
                    const Tokens& tokens, int T, const EvaluationObserver& observe = {},
                    Precision precision = Precision::kFloat32);

/// Explains a non-finite loss. `tokens`: finite tokens from a zero state; `trained`: length of the
/// training windows (0: unknown). Either the state has grown beyond what training saw, or the
/// weights are bad.
std::string describe_overflow(int64_t tokens, int trained);

}  // namespace mmrec
