#pragma once

#include "model/config.h"
#include "model/parameters.h"
#include "runtime/arena.h"
#include "runtime/ops/decay.h"
#include "runtime/ops/dropout.h"
#include "runtime/ops/ffn.h"
#include "runtime/ops/recurrence.h"
#include "runtime/tensor.h"

namespace mmrec {

/// The sizes of a pass: N = T * B rows, time-major.
struct BlockSizes {
  int T, B, D, heads, slots;
  int rows() const { return T * B; }
};

/// One block's parameters, or their gradients: views into a flat array.
struct BlockWeights {
  BlockWeights(const Config& config, const Parameters& parameters, const Tensor& flat, int layer);

  Tensor norm1, fused, fused_bias;          ///< HEM: the rows of q k v z, [4D][D]; p and e feed nothing
  Tensor core_gate, core_gate_bias;         ///< W_g
  Tensor mdi_gate_z, mdi_gate_h, mdi_bias;  ///< the two halves of mdi.W_g, [D][D] each, rows strided
  ops::DecayWeights decay;
  Tensor query, query_bias, output, output_bias;  ///< multi_mem_attention.W_q and W_o
  ops::FfnWeights ffn;
  Tensor memory_keys, memory_values;  ///< [S][D] where the memory is learned, else empty
};

/// What the forward pass of one block leaves for its backward pass.
struct BlockSaved {
  BlockSaved() = default;
  BlockSaved(const BlockSizes& sizes, Arena& arena);

  Tensor scale;  ///< [N], of norm1
  Tensor qkvz;   ///< [N][4D]
  ops::DecaySaved decay;
  Tensor gm;  ///< [N][D]
  ops::RecurrenceWeights packed;
  Tensor mdi_input, state, gates;  ///< [T][B][D], [T+1][B][D], [T][B][2D]
  Tensor q, p, context;            ///< of the attention: [N][D], [N][H][S], [N][D]
  Tensor r;                        ///< [N][D], between the block's halves
  ops::FfnSaved ffn;
};

/// Memory for one pass through one block, needed by no other pass; all blocks share it.
struct BlockScratch {
  BlockScratch() = default;
  BlockScratch(const BlockSizes& sizes, bool backward, Arena& arena);

  Tensor mixed;                                                ///< h + attention
  Tensor dr, dmixed, dcontext, dq, dstate, dgamma, dstate_in;  ///< backward only; [N][D], dstate_in [B][D]
  Tensor dpre, dqkvz, dscores;                                 ///< [T][B][2D], [N][4D], [H][N][S]
};

/// The masks of one block in one step.
struct BlockDropout {
  ops::Dropout mixer, ffn_hidden, ffn_output;
};

/// y = block(x): x, y [N][D]; keys, values [S][D] of this layer's memory. saved.state[0] is the state to start from.
void block_forward(const BlockSizes& sizes, const BlockWeights& weights, const Tensor& keys, const Tensor& values, const BlockDropout& dropout,
                   const Tensor& x, const BlockSaved& saved, const BlockScratch& scratch, const Tensor& y);

/// dx from dy, and the weights' gradients. Mirrors block_forward from its last line to its first.
void block_backward(const BlockSizes& sizes, const BlockWeights& weights, const Tensor& keys, const Tensor& values, const BlockDropout& dropout,
                    const Tensor& x, const BlockSaved& saved, const BlockScratch& scratch, const Tensor& dy, const Tensor& dx,
                    const BlockWeights& gradients);

}  // namespace mmrec
