#pragma once

#include "generators/constants/constants.h"
#include "runtime/tensor.h"

namespace mmrec::ops {

/// Columns of the packed weights.
constexpr int recurrence_padded(int D) { return (D + kRecurrenceTile - 1) / kRecurrenceTile * kRecurrenceTile; }

/// W_g and mdi.W_g(h half) in the two orders in which the steps stream them; P = recurrence_padded(D).
struct RecurrenceWeights {
  Tensor forward;   ///< [D][2][P]: input-major, for every input its weights in s and in g
  Tensor backward;  ///< [2][D][P]: output-major
};

/// Packs core_gate = W_g [D][D] and mdi_gate = the h half of mdi.W_g, [D][D] (a view of [D][2D]).
void recurrence_pack(const Tensor& core_gate, const Tensor& mdi_gate, const RecurrenceWeights& packed);

/// The recurrence over t = 0 .. T-1 (everything time-major, T = size(0); each [T][B][D] unless said otherwise; rows may be
/// strided):
///   s_t = sigmoid(W_g h_{t-1} + core_bias)
///   g_t = sigmoid(mdi.W_g(h half) h_{t-1} + mdi_input_t)          mdi_input = mdi.W_g(z half) z + bias, made beforehand
///   h_t = z_t s_t + gamma_t h_{t-1} + 0.1 ((1 - g_t) h_{t-1} + g_t z_t + gm_t h_{t-1})
/// state [T+1][B][D]: state[0] is the state handed in, state[t+1] = h_t is written. gates [T][B][2D] receives [s_t ; g_t].
/// gamma and gm may be the same tensor (they are without DPG).
void recurrence_forward(const RecurrenceWeights& packed, const Tensor& core_bias, const Tensor& mdi_input, const Tensor& z, const Tensor& gamma,
                        const Tensor& gm, const Tensor& state, const Tensor& gates);

/// Backward through time. dstate [T][B][D] is the loss's gradient in each h_t from outside the recurrence; on return
/// dpre [T][B][2D] is the gradient in the arguments of the sigmoids (weight gradients are one matmul over it afterwards),
/// dz the gradient in z along the direct ways only (not through mdi_input), dgamma [T][B][D] that in gamma (the one in gm is
/// kMdiShare of it), and dstate_in [B][D] that in the state handed in.
void recurrence_backward(const RecurrenceWeights& packed, const Tensor& dstate, const Tensor& gates, const Tensor& z, const Tensor& gamma,
                         const Tensor& gm, const Tensor& state, const Tensor& dpre, const Tensor& dz, const Tensor& dgamma, const Tensor& dstate_in);

/// Whether the batch has too few sequences for recurrence_backward to use more than the calling thread.
bool recurrence_backward_on_one_core(int B);

}  // namespace mmrec::ops
