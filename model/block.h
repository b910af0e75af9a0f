#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"
#include "model/parameters.h"
#include "runtime/arena.h"
#include "runtime/ops/dropout.h"
#include "runtime/ops/weight.h"
#include "runtime/tensor.h"

namespace mmrec {

/// The dropout masks of one block in one training step.
struct BlockDropout {
  ops::Dropout mixer, ffn_hidden, ffn_output;
};

/// A tensor that forward computed, for messages. Its outermost axis is time, then come the
/// sequences: [..][B][C]. first_token: the position in the window of its first element.
struct NamedTensor {
  const char* name;
  Tensor tensor;
  int first_token = 0;
};

/// The largest values of the last forward, over all tokens and units.
struct StateRange {
  double factor = 0;  ///< of the factor with which a step multiplies the state
  double state = 0;   ///< of |h|

  StateRange& operator|=(const StateRange& other) {
    factor = std::max(factor, other.factor);
    state = std::max(state, other.state);
    return *this;
  }
};

/// An array of random numbers, redrawn for each training step from N(0, deviation^2). Its size is a
/// multiple of 4.
struct Drawn {
  std::string name;
  Tensor tensor;
  float deviation;
};

/// A weight of a block that is multiplied by few rows, and the norm before it, or an empty tensor.
struct PackableWeight {
  ops::Weight* weight;
  Tensor norm = {};
  bool always_float = false;  ///< no kernel for few rows reads it in another precision
};

/// Interface of one layer of an architecture, for windows of T positions of B sequences. Rows are
/// time-major: [N][D] means [T][B][D] with N = T * B.
/// A new block holds only views and is cheap to make: bind() attaches the weights, lay_out_*() the
/// memory.
/// To add an architecture, derive a class from Block and add a row to model/architecture.cpp.
class Block {
 public:
  Block(const Config& config, int T, int B) : config_(config), T_(T), B_(B), D_(config.dim) {}
  virtual ~Block() = default;

  /// Names the fields of the configuration that only the block reads. Those of the model (arch,
  /// vocab_size, dim, layers, max_seq) every block may read. check_config refuses all others.
  virtual std::vector<std::string_view> fields() const = 0;

  /// Throws a UsageError if a field of the configuration has an impossible value.
  virtual void check_values() const {}

  /// Returns a few words about the layers for the run's log.
  virtual std::string describe() const = 0;

  /// Declares the parameters. Names are as in checkpoints, without the prefix "blocks.0.".
  virtual void declare(const ParameterScope& parameters) const = 0;
  /// Attaches the views of weights and gradients. Call it before forward and backward.
  virtual void bind(const ParameterScope& weights, const ParameterScope& gradients) = 0;

  /// Number of floats of recurrent state per sequence, carried from one call to the next.
  virtual int state_width() const = 0;
  /// Elements per token of the largest array. Multiplied by the number of tokens it must stay below
  /// 2^31.
  virtual int64_t widest_row() const = 0;
  /// Floating-point operations per token of all matrix products, forward and backward. All other
  /// work should be less than 2 % of it.
  virtual double training_flops() const = 0;

  /// Allocates the arrays that are redrawn for each training step. Evaluation and generation draw
  /// them once.
  virtual std::vector<Drawn> lay_out_drawn(Arena&) { return {}; }
  /// Allocates packed copies of the weights, for a model that generates text in a precision. bind()
  /// and lay_out_drawn() come before.
  virtual void lay_out_packed(Arena& arena, Precision precision) {
    for (const PackableWeight& packable : packable_weights())
      packable.weight->lay_out_packed(arena,
                                      packable.always_float ? Precision::kFloat32 : precision);
  }
  /// Fills them. forward uses them from then on.
  virtual void pack() {
    for (const PackableWeight& packable : packable_weights())
      ops::pack(*packable.weight, packable.norm);
  }
  /// Rounds in place the weights that are read as int8 by a model that generates text
  /// (ops::round_to_int8). The block then computes in float with the values that the packed copies
  /// would have.
  virtual void round_to_int8() {
    for (const PackableWeight& packable : packable_weights())
      if (!packable.always_float) ops::round_to_int8(*packable.weight, packable.norm);
  }
  /// Allocates the tensors that forward keeps for backward, of a model that computes in
  /// `precision`. All layers of an inference model share one region.
  virtual void lay_out_saved(Arena& arena, Precision precision) = 0;
  /// Allocates the tensors used within one call. All layers share one region.
  virtual void lay_out_scratch(Arena& arena, bool backward) = 0;

  /// y = block(x); x, y [N][D]. state [B][state_width()]: on entry the initial state, on return the
  /// state after the last position.
  virtual void forward(const Tensor& x, const Tensor& state, const BlockDropout& dropout,
                       const Tensor& y) = 0;
  /// Computes dx [N][D] from dy [N][D] for the x and the masks of the last forward; adds to the
  /// weight gradients. dx may be dy itself. `share` is the weight of this batch in the training
  /// step, for a block with a loss of its own; dy contains it already. The code mirrors forward
  /// from its last line to its first.
  virtual void backward(const Tensor& dy, const Tensor& x, const BlockDropout& dropout, float share,
                        const Tensor& dx) = 0;

  /// Returns whether the block has a loss of its own.
  virtual bool has_auxiliary_loss() const { return false; }
  /// The block's own loss in the last backward, a mean over the tokens, weighted as it is added to
  /// the cross-entropy.
  virtual double auxiliary_loss() const { return 0; }
  /// The range of the last forward's recurrence.
  virtual StateRange state_range() const = 0;

  /// Returns the tensors that the last forward computed, in order of computation. Used to find the
  /// first non-finite value.
  virtual std::vector<NamedTensor> saved() const = 0;

 protected:
  virtual std::vector<PackableWeight> packable_weights() = 0;

  int rows() const { return T_ * B_; }
  /// Views [T*B][C] as [T][B][C], and the inverse, for any number of positions.
  Tensor by_time(const Tensor& rows) const {
    return rows.reshape({rows.size(0) / B_, B_, rows.size(1)});
  }
  Tensor by_row(const Tensor& sequence) const {
    return sequence.reshape({sequence.size(0) * B_, sequence.size(2)});
  }

  const Config config_;
  const int T_, B_, D_;
};

}  // namespace mmrec
