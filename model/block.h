#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/parameters.h"
#include "runtime/arena.h"
#include "runtime/ops/dropout.h"
#include "runtime/tensor.h"

namespace mmrec {

/// The masks of one block in one step.
struct BlockDropout {
  ops::Dropout mixer, ffn_hidden, ffn_output;
};

struct NamedTensor {
  const char* name;
  Tensor tensor;
};

/// An array that is drawn anew for each step, N(0, deviation); its size is a multiple of 4.
struct Drawn {
  std::string name;
  Tensor tensor;
  float deviation;
};

/// One layer of an architecture, for windows of T positions of B sequences: all that a model has to know of it. Rows are time-major:
/// [N][D] stands for [T][B][D], N = T * B. A new block is cheap, it holds views only: its weights come with bind(), its memory
/// with lay_out_*(). A new architecture is a class that derives from this one and a row in model/architecture.cpp.
class Block {
 public:
  Block(const Config& config, int T, int B) : config_(config), T_(T), B_(B), D_(config.dim) {}
  virtual ~Block() = default;

  /// Throws a UsageError for a field of the configuration that makes no sense here.
  virtual void check_values() const {}
  /// The same for values that can be planned with only, since this version does not support them.
  virtual void check_supported() const {}

  /// What a run's log says of the layers, in a few words.
  virtual std::string describe() const = 0;

  /// Declares the parameters, by the names that they have in checkpoints after "blocks.0.".
  virtual void declare(const ParameterScope& parameters) const = 0;
  /// Takes the views of weights and gradients; before forward and backward.
  virtual void bind(const ParameterScope& weights, const ParameterScope& gradients) = 0;

  /// Floats of the state that a sequence carries from one call to the next.
  virtual int state_width() const = 0;
  /// Elements a token of the widest array: the product with the tokens must stay below 2^31.
  virtual int64_t widest_row() const = 0;
  /// Operations a token of the matrix products, forward and backward; everything else should be less than 2 % of it.
  virtual double training_flops() const = 0;

  /// What is drawn anew for each training step, and once for evaluation and generation.
  virtual std::vector<Drawn> lay_out_drawn(Arena&) { return {}; }
  /// What forward leaves for backward. Layers of a model that only infers share one place.
  virtual void lay_out_saved(Arena& arena) = 0;
  /// What is needed within one call only; all layers share one place.
  virtual void lay_out_scratch(Arena& arena, bool backward) = 0;

  /// y = block(x), both [N][D]. state [B][state_width()] is the one to start from, and afterwards the one after the last position.
  virtual void forward(const Tensor& x, const Tensor& state, const BlockDropout& dropout, const Tensor& y) = 0;
  /// dx from dy, which may be the same tensor, for the x and the masks of the last forward; adds to the weights' gradients. It mirrors forward
  /// from its last line to its first.
  virtual void backward(const Tensor& dy, const Tensor& x, const BlockDropout& dropout, const Tensor& dx) = 0;

  /// What the last forward has made, in the order of computation: where a value that is not finite is looked for.
  virtual std::vector<NamedTensor> saved() const = 0;

 protected:
  int rows() const { return T_ * B_; }
  /// [N][C] as [T][B][C], and back.
  Tensor by_time(const Tensor& rows) const { return rows.reshape({T_, B_, rows.size(1)}); }
  Tensor by_row(const Tensor& sequence) const { return sequence.reshape({rows(), sequence.size(2)}); }

  static void copy_values(const Tensor& from, const Tensor& to) { std::copy_n(from.data(), from.count(), to.data()); }

  const Config config_;
  const int T_, B_, D_;
};

}  // namespace mmrec
