#pragma once

#include "model/block.h"
#include "runtime/ops/ffn.h"

namespace mmrec {

/// minGRU (Feng et al. 2024, "Were RNNs All We Needed?"): z = sigmoid(W_z x), c = W_h x, h_t = (1 -
/// z_t) h_{t-1} + z_t c_t. Gate and candidate do not depend on the state, so a whole sequence is
/// one affine scan. Norm, output product, residual and feed-forward half are the same as in
/// MM-Rec's block.
class MingruBlock : public Block {
 public:
  using Block::Block;

  std::vector<std::string_view> fields() const override { return {}; }
  std::string describe() const override { return "minGRU"; }
  void declare(const ParameterScope& parameters) const override { Weights(config_, parameters); }
  void bind(const ParameterScope& weights, const ParameterScope& gradients) override;
  int state_width() const override { return D_; }
  int64_t widest_row() const override;
  double training_flops() const override;
  void lay_out_saved(Arena& arena, Precision precision) override;
  void lay_out_scratch(Arena& arena, bool backward) override;
  void forward(const Tensor& x, const Tensor& state, const BlockDropout& dropout,
               const Tensor& y) override;
  void backward(const Tensor& dy, const Tensor& x, const BlockDropout& dropout, float share,
                const Tensor& dx) override;
  StateRange state_range() const override;
  std::vector<NamedTensor> saved() const override;

 protected:
  std::vector<PackableWeight> packable_weights() override;

 private:
  /// Parameters, or their gradients.
  struct Weights {
    Weights() = default;
    Weights(const Config& config, const ParameterScope& parameters);

    Tensor norm1;
    Linear projection;  ///< rows of W_z, then rows of W_h: [2D][D]
    Linear output;      ///< [D][D]
    ops::FfnWeights ffn;
  };

  /// Tensors that forward keeps for backward.
  struct Saved {
    Tensor rstd;         ///< [N], of norm1
    Tensor gate_input;   ///< [N][2D]: W_z x, then the candidate c
    Tensor keep, input;  ///< [N][D]: 1 - z and z c, coefficients a and b of the scan
    Tensor state;        ///< [T+1][B][D]
    Tensor r;            ///< [N][D], between the block's halves
    ops::FfnSaved ffn;
  };

  struct Temporaries {
    Tensor mixed;                       ///< output product, [N][D]
    Tensor dr, dmixed, dh;              ///< backward only, [N][D]
    Tensor dkeep, dinput, dgate_input;  ///< [N][D], [N][2D]
    Tensor dstate_in;                   ///< [B][D]
  };

  /// forward: computes keep and input from gate_input. backward: dgate_input from dkeep and dinput.
  void gates_forward() const;
  void gates_backward() const;

  Weights weights_, gradients_;
  Saved saved_;
  Temporaries temporaries_;
};

}  // namespace mmrec
