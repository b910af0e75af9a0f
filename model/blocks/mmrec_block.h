#pragma once

#include "model/block.h"
#include "runtime/ops/ffn.h"
#include "runtime/ops/mdi_gamma.h"
#include "runtime/ops/recurrence.h"

namespace mmrec {

/// MM-Rec's block: a gated recurrence whose gates depend on the state, attention over memory slots,
/// and a feed-forward half.
class MmrecBlock : public Block {
 public:
  using Block::Block;

  /// Number of D-wide parts of the fused projection: used (q k v z), and stored (also p and e,
  /// which feed nothing).
  static constexpr int kProjected = 4, kProjections = 6;
  /// R, the hidden width of MDI's gamma.
  static constexpr int mdi_gamma_width(int D) { return D / 4; }

  void check_values() const override;
  void check_supported() const override;
  std::string describe() const override;
  void declare(const ParameterScope& parameters) const override { Weights(config_, parameters); }
  void bind(const ParameterScope& weights, const ParameterScope& gradients) override;
  int state_width() const override { return D_; }
  int64_t widest_row() const override;
  double training_flops() const override;
  std::vector<Drawn> lay_out_drawn(Arena& arena) override;
  void lay_out_saved(Arena& arena) override;
  void lay_out_scratch(Arena& arena, bool backward) override;
  void forward(const Tensor& x, const Tensor& state, const BlockDropout& dropout,
               const Tensor& y) override;
  void backward(const Tensor& dy, const Tensor& x, const BlockDropout& dropout,
                const Tensor& dx) override;
  std::vector<NamedTensor> saved() const override;

 private:
  /// Parameters, or their gradients.
  struct Weights {
    Weights() = default;
    Weights(const Config& config, const ParameterScope& parameters);

    Tensor norm1;
    Linear fused;      ///< HEM: the rows of q k v z p e, [6D][D]
    Linear core_gate;  ///< W_g
    Linear mdi_gate;   ///< mdi.W_g, [D][2D]: one half for z, one for h
    ops::MdiGammaWeights mdi_gamma;
    Linear query, output;  ///< multi_mem_attention.W_q and W_o
    ops::FfnWeights ffn;
    Tensor memory_keys, memory_values;  ///< [S][D] if the memory is learned, else empty
  };

  /// Tensors that forward keeps for backward.
  struct Saved {
    Tensor rstd;  ///< [N], of norm1
    Tensor qkvz;  ///< [N][4D]
    ops::MdiGammaSaved mdi_gamma;
    Tensor gm;  ///< [N][D]
    ops::RecurrenceWeights packed;
    Tensor mdi_input, state, gates;  ///< [T][B][D], [T+1][B][D], [T][B][2D]
    Tensor q, p, context;            ///< attention: [N][D], [N][H][S], [N][D]
    Tensor r;                        ///< [N][D], between the block's halves
    ops::FfnSaved ffn;
  };

  struct Scratch {
    Tensor mixed;  ///< h + attention, [N][D]
    Tensor dr, dmixed, dcontext, dq, dstate, dgamma,
        dstate_in;                ///< backward only; [N][D], dstate_in [B][D]
    Tensor dpre, dqkvz, dscores;  ///< [T][B][2D], [N][4D], [H][N][S]
  };

  /// The slots that attention reads, [S][D]: parameters, or drawn.
  const Tensor& keys() const {
    return weights_.memory_keys.rank() ? weights_.memory_keys : drawn_keys_;
  }
  const Tensor& values() const {
    return weights_.memory_values.rank() ? weights_.memory_values : drawn_values_;
  }

  Weights weights_, gradients_;
  Saved saved_;
  Scratch scratch_;
  Tensor drawn_keys_, drawn_values_;
};

}  // namespace mmrec
