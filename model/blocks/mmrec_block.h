#pragma once

#include <vector>

#include "model/block.h"
#include "runtime/ops/dpg_gamma.h"
#include "runtime/ops/ffn.h"
#include "runtime/ops/mdi_gamma.h"
#include "runtime/ops/planning_loss.h"
#include "runtime/ops/recurrence.h"

namespace mmrec {

/// MM-Rec's block: a gated recurrence whose gates depend on the state, attention over memory slots,
/// and a feed-forward half.
/// A sequence longer than chunk_size is computed chunk by chunk. In the first chunk, attention
/// reads the memory bank. In a later one it reads a single slot per sequence: the mean of the
/// block's output over the chunk before, without a gradient. The recurrence starts each chunk from
/// zero, or from the state of the chunk before (carry_state).
class MmrecBlock : public Block {
 public:
  using Block::Block;

  /// Number of D-wide parts of the fused projection: used (q k v z), and stored (also p and e,
  /// which feed nothing).
  static constexpr int kProjected = 4, kProjections = 6;
  /// R, the hidden width of MDI's gamma.
  static constexpr int mdi_gamma_width(int D) { return D / 4; }

  std::vector<std::string_view> fields() const override;
  void check_values() const override;
  std::string describe() const override;
  void declare(const ParameterScope& parameters) const override { Weights(config_, parameters); }
  void bind(const ParameterScope& weights, const ParameterScope& gradients) override;
  /// [h], and with chunks also what the next chunk needs: see State.
  int state_width() const override;
  int64_t widest_row() const override;
  double training_flops() const override;
  std::vector<Drawn> lay_out_drawn(Arena& arena) override;
  void lay_out_packed(Arena& arena, Precision precision) override;
  void pack() override;
  void round_to_int8() override;
  void lay_out_saved(Arena& arena, Precision precision) override;
  void lay_out_scratch(Arena& arena, bool backward) override;
  void forward(const Tensor& x, const Tensor& state, const BlockDropout& dropout,
               const Tensor& y) override;
  void backward(const Tensor& dy, const Tensor& x, const BlockDropout& dropout, float share,
                const Tensor& dx) override;
  bool has_auxiliary_loss() const override { return config_.uboo; }
  double auxiliary_loss() const override { return auxiliary_loss_; }
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
    /// The rows of q k v z, [4D][D]. With HEM, the first part of W_fused; p and e follow there.
    /// Without, the matrices W_q, W_k, W_v, W_z below each other.
    Linear projection;
    Linear core_gate;  ///< W_g
    /// mdi.W_g, [D][2D]: one half for z, one for h.
    ops::Weight mdi_gate_z;
    Tensor mdi_gate_h, mdi_gate_bias;
    ops::MdiGammaWeights mdi_gamma;
    ops::DpgGammaWeights dpg_gamma;          ///< with DPG, else empty
    ops::PlanningLossWeights planning_loss;  ///< with UBOO, else empty
    Linear query, output;                    ///< multi_mem_attention.W_q and W_o
    ops::FfnWeights ffn;
    ops::Weight memory_keys;  ///< [S][D] if the memory is learned, else empty
    Tensor memory_values;     ///< the same
  };

  /// Tensors that forward keeps for backward.
  struct Saved {
    Tensor rstd;  ///< [N], of norm1
    Tensor qkvz;  ///< [N][4D]
    ops::MdiGammaSaved mdi_gamma;
    Tensor gm;                      ///< [N][D]
    Tensor dpg_hidden, gamma;       ///< [N][R], [N][D]; without DPG empty, and gm itself
    ops::RecurrenceWeights packed;  ///< in each forward, or packed_
    Tensor mdi_input, gates;        ///< [T][B][D], [T][B][2D]
    Tensor state;                   ///< [T + chunks][B][D]: see Chunk
    Tensor slots;                   ///< [chunks][B][D]: what attention reads in later chunks
    Tensor q, p, context;           ///< attention in the first chunk: [N][D], [N][H][S], [N][D]
    Tensor r;                       ///< [N][D], between the block's halves
    ops::FfnSaved ffn;
  };

  struct Temporaries {
    Tensor mixed;        ///< h + attention, [N][D]
    Tensor slot_output;  ///< W_o of a chunk's slots, [B][D]
    // backward only
    Tensor dr, dmixed, dcontext, dq, dgamma;  ///< [N][D]
    Tensor dstate;                            ///< as Saved::state
    Tensor dstate_in, dmixed_sum;             ///< [B][D]
    Tensor dpre, dqkvz, dscores;              ///< [T][B][2D], [N][4D], [H][N][S]
    ops::PlanningLossSaved planning_loss;
    Tensor planning_losses;  ///< [N]
  };

  /// A part of the window that lies in one chunk. Its states are rows [state_row, state_row + T] of
  /// Saved::state: the initial state, then h of each position.
  struct Chunk {
    int index;       ///< within the window
    int begin, end;  ///< positions
    bool first;      ///< of the sequence: attention reads the bank
    int state_row() const { return begin + index; }
  };

  /// The upper bound of the chunks that a window of T positions has a part of.
  int most_chunks() const;
  /// Divides the window into chunks_, for sequences at the position that `state` says.
  void divide(const Tensor& state);
  /// The parts of an array that belong to a chunk: rows of [N][..], times of [T][..].
  template <class Rows>
  Rows rows_of(const Chunk& chunk, const Rows& rows) const {
    return rows.rows(chunk.begin * B_, chunk.end * B_);
  }
  Tensor times_of(const Chunk& chunk, const Tensor& rows) const {
    return by_time(rows_of(chunk, rows));
  }
  ops::FfnSaved ffn_of(const Chunk& chunk) const {
    const ops::FfnSaved& all = saved_.ffn;
    return {rows_of(chunk, all.rstd), rows_of(chunk, all.slope), rows_of(chunk, all.activated)};
  }
  /// Initial state and h's of a chunk, [T+1][B][D], in Saved::state or Temporaries::dstate.
  Tensor states_of(const Chunk& chunk, const Tensor& states) const {
    return states.rows(chunk.state_row(), chunk.state_row() + chunk.end - chunk.begin + 1);
  }

  void forward_chunk(const Chunk& chunk, const Tensor& x, const Tensor& state,
                     const BlockDropout& dropout, const Tensor& y);
  /// After a chunk's part: updates the state from its last h and its output y.
  void advance(const Chunk& chunk, const Tensor& y, const Tensor& state) const;
  void backward_chunk(const Chunk& chunk, const Tensor& dy, const BlockDropout& dropout,
                      float share);
  void attention_backward(const Chunk& chunk, const Tensor& dmixed, const Tensor& dq,
                          const Tensor& dprojected_q, const Tensor& dh);
  /// Adds the gradient of a chunk's initial state to sum [B][D].
  void add_initial_gradient(const Chunk& chunk, const Tensor& sum) const;
  /// Computes the planning loss of a chunk and its gradients; adds to dstate.
  void planning_loss(const Chunk& chunk, float share);

  /// The slots that attention reads, [S][D]: parameters, or drawn.
  const ops::Weight& keys() const {
    return weights_.memory_keys.rank() ? weights_.memory_keys : drawn_keys_;
  }
  const Tensor& values() const {
    return weights_.memory_values.rank() ? weights_.memory_values : drawn_values_;
  }

  Weights weights_, gradients_;
  Saved saved_;
  Temporaries temporaries_;
  std::vector<Chunk> chunks_;  // of the last forward
  double auxiliary_loss_ = 0;
  ops::Weight drawn_keys_;
  Tensor drawn_values_;
  ops::RecurrenceWeights packed_;  ///< that pack() filled, else empty
};

}  // namespace mmrec
