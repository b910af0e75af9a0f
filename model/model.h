#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/block.h"
#include "model/config.h"
#include "model/parameters.h"
#include "runtime/tensor.h"

namespace mmrec {

/// What a batch came to. Sums over its B*T tokens, so that batches of different size can be added up.
struct LossSum {
  double loss = 0;     ///< of the cross-entropy, in nats
  double correct = 0;  ///< tokens whose target was the most probable token
  int64_t tokens = 0;

  LossSum& operator+=(const LossSum& other) {
    loss += other.loss;
    correct += other.correct;
    tokens += other.tokens;
    return *this;
  }
  double mean_loss() const { return loss / static_cast<double>(tokens); }
  double accuracy() const { return correct / static_cast<double>(tokens); }
};

/// Dropout of one training step: p and where the masks come from. Each use within the step has a mask of its own.
struct StepDropout {
  float p = 0.f;
  uint64_t seed = 0, step = 0;
};

/// A language model of blocks, embedding, blocks, norm and tied head, for windows of T positions of B sequences, over parameters that several models
/// may share (a training shape, a validation shape, one-token generation). Everything it needs is taken from one arena when it is made: the calls
/// below allocate nothing. It computes with the context that was current then (runtime/context.h), on whichever thread it is called; the context
/// outlives it. ids and targets are time-major, [T][B].
class Model {
 public:
  enum class Mode { kTraining, kInference };
  /// vocabulary: the number of real tokens, <= config.vocab_size; the padding rows above get no probability and no gradient.
  /// seed: the run's, for what the blocks draw.
  Model(const Config& config, int vocabulary, Parameters& parameters, int T, int B, Mode mode, uint64_t seed);
  Model(Model&& other) noexcept;
  ~Model();

  int T() const;
  int B() const;
  size_t bytes() const;

  /// The recurrent state of all layers, [L][B][floats a sequence]: read at the start of each call, replaced by the state after the last
  /// position. Zero it (clear_state) where a window starts afresh.
  const Tensor& state() const;
  void clear_state();

  /// Draws anew what the blocks draw for each training step: step s (from 1) takes draw s. Draw 0 is the one of evaluation and generation,
  /// which a new model has. (seed, number) fixes it.
  void draw(uint64_t number);
  /// What draw() fills, for what has its own numbers for it; the names are those of the parameters that would be in its place.
  const std::vector<Drawn>& drawn() const;

  /// Loss of predicting targets.
  LossSum loss(const IntTensor& ids, const IntTensor& targets);
  /// The same, and adds `share` of the gradient of the mean over all B*T tokens to parameters.gradients(). Mode::kTraining only.
  LossSum loss_and_gradients(const IntTensor& ids, const IntTensor& targets, const StepDropout& dropout, float share = 1.f);
  /// Takes the state past the ids and predicts nothing.
  void read(const IntTensor& ids);
  /// Logits [T][B][V'] for V' = vocabulary; the tensor belongs to the caller.
  void logits(const IntTensor& ids, const Tensor& logits);
  /// Loss per position of the last call of loss or loss_and_gradients, [T][B].
  const Tensor& token_loss() const;
  /// The first tensor of the last call of loss_and_gradients, in the order of computation, that has an element which is not
  /// finite ("blocks.2: the state h"), or "". Mode::kTraining only.
  std::string first_non_finite() const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// What a Model of these arguments would report as bytes(), without making one.
size_t model_bytes(const Config& config, int T, int B, Model::Mode mode);

/// Operations of a training step's matrix products; everything else is less than 2 % of it.
double training_flops(const Config& config, int64_t tokens);

}  // namespace mmrec
