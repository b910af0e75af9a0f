#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/block.h"
#include "model/config.h"
#include "model/parameters.h"
#include "runtime/context.h"
#include "runtime/tensor.h"

namespace mmrec {

/// Loss and accuracy of a batch, as sums over its B*T tokens: batches of different sizes can be
/// added.
struct LossSum {
  double loss = 0;       ///< cross-entropy in nats
  double auxiliary = 0;  ///< the blocks' own losses, weighted; only with gradients
  double correct = 0;    ///< tokens whose target had the highest probability
  int64_t tokens = 0;
  StateRange range = {};  ///< the largest of all layers; only with gradients

  LossSum& operator+=(const LossSum& other) {
    loss += other.loss;
    auxiliary += other.auxiliary;
    correct += other.correct;
    tokens += other.tokens;
    range |= other.range;
    return *this;
  }
  bool is_finite() const { return std::isfinite(loss + auxiliary); }
  double mean_loss() const { return loss / static_cast<double>(tokens); }
  double mean_auxiliary() const { return auxiliary / static_cast<double>(tokens); }
  double accuracy() const { return correct / static_cast<double>(tokens); }
};

/// Dropout of one training step. (seed, step) determines the masks; each use within the step has
/// its own mask.
struct StepDropout {
  float p = 0.f;
  uint64_t seed = 0, step = 0;
};

/// A language model: embedding, blocks, norm and tied head, for windows of T positions of B
/// sequences. Several models may share one set of parameters (training shape, validation shape,
/// one-token generation). The constructor allocates all memory in one arena: the methods below
/// allocate nothing. The model computes with the context that was current at construction
/// (runtime/context.h), whichever thread calls it; the context must outlive the model. ids and
/// targets are time-major, [T][B].
class Model {
 public:
  /// kTraining keeps the activations of all blocks for the backward pass. kRecomputing keeps only
  /// the blocks' inputs and computes the activations of a block again in the backward pass: the
  /// same gradients, bit for bit, with less memory and one more forward pass. kGenerating is
  /// kInference for few rows: it packs the weights at construction instead of in each call, in
  /// memory of its own. Call pack() when they have changed.
  enum class Mode { kTraining, kRecomputing, kInference, kGenerating };
  /// vocabulary: number of real tokens, <= config.vocab_size. The padding rows above it get no
  /// probability and no gradient.
  /// seed: the run's seed, for the arrays that draw() fills.
  /// precision: of the factors of all products, whatever the calling thread's own is. Weights,
  /// gradients, states and all sums are float with all. Throws an Error if this process cannot
  /// compute in it. kInt8 is for weights that round_weights() has rounded: kGenerating packs them
  /// as int8, kInference computes with them in float, and there is no training with them.
  Model(const Config& config, int vocabulary, Parameters& parameters, int T, int B, Mode mode,
        uint64_t seed, Precision precision = Precision::kFloat32);
  Model(Model&& other) noexcept;
  ~Model();

  int T() const;
  int B() const;
  size_t bytes() const;

  /// Recurrent state of all layers, [L][B][state_width]. A call starts from it and replaces it by
  /// the state after the last position. Call clear_state to start a new window from zeros.
  const Tensor& state() const;
  void clear_state();

  /// Redraws the blocks' random arrays; (seed, number) determines them. Training step s (from 1)
  /// uses draw s. Evaluation and generation use draw 0, which a new model has. In
  /// Mode::kGenerating this packs again, too.
  void draw(uint64_t number);
  /// The arrays that draw() fills, for callers that set their own values. Each has the name of the
  /// parameter that would replace it.
  const std::vector<Drawn>& drawn() const;
  /// Packs the weights and the random arrays again, in Mode::kGenerating.
  void pack();

  /// Returns the loss of predicting targets.
  LossSum loss(const IntTensor& ids, const IntTensor& targets);
  /// Like loss(). Also adds `share` times the gradient of the mean loss over all B*T tokens to
  /// parameters.gradients(). Only in training modes. If the blocks have losses of their own, the
  /// gradient contains theirs. after_block: called when the backward pass has left a block, the
  /// last one first; its gradients are complete then, see backward_order().
  LossSum loss_and_gradients(const IntTensor& ids, const IntTensor& targets,
                             const StepDropout& dropout, float share = 1.f,
                             const std::function<void(int layer)>& after_block = {});
  /// Advances the state over the ids without predicting.
  void read(const IntTensor& ids);
  /// Writes logits [T][B][vocabulary] to a tensor of the caller.
  void logits(const IntTensor& ids, const Tensor& logits);
  /// Returns whether the blocks have losses of their own, LossSum::auxiliary.
  bool has_auxiliary_loss() const;
  /// Loss per position of the last call of loss or loss_and_gradients, [T][B].
  const Tensor& token_loss() const;
  /// Returns the first tensor, in order of computation, of the last loss_and_gradients call that
  /// has a non-finite element, and the first such token ("blocks.2: the state h of token 17";
  /// tokens of a window count from 1), or "". Only in training modes.
  std::string first_non_finite();

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

constexpr Model::Mode training_mode(bool recompute) {
  return recompute ? Model::Mode::kRecomputing : Model::Mode::kTraining;
}

/// Rounds the weights that a token reads to what models of a precision can hold of them: with kInt8
/// the matrices, row by row (ops::round_to_int8), and the norms before them become part of them.
/// With other precisions, in which models round by themselves, the weights stay as they are.
void round_weights(const Config& config, const Parameters& parameters, Precision precision);

/// Returns the bytes() of a Model with these arguments, without making it. A model of more than
/// kMostParameters, which cannot be made, counts without packed weights.
size_t model_bytes(const Config& config, int T, int B, Model::Mode mode,
                   Precision precision = Precision::kFloat32);

/// Floating-point operations per token of all matrix products of a training step on windows of T
/// positions. All other work is less than 2 % of it. Recomputing is not counted.
double training_flops(const Config& config, int T);

}  // namespace mmrec
