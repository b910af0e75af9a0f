#pragma once

#include "generators/constants/constants.h"
#include "runtime/ops/weight.h"
#include "runtime/tensor.h"

namespace mmrec::ops {

/// Number of columns of the packed weights: D rounded up to whole tiles.
constexpr int recurrence_padded(int D) {
  return (D + kRecurrenceTile - 1) / kRecurrenceTile * kRecurrenceTile;
}

/// Number of panels of the packed weights.
constexpr int recurrence_panels(int D) { return recurrence_padded(D) / kRecurrencePanel; }

/// Number of rows of a panel, for kernels of a precision: D, in which kBf16 leaves the second half
/// unused, and fewer with kInt8 (runtime/ops/weight.h).
constexpr int recurrence_rows(int D, Precision precision) {
  return precision == Precision::kInt8 ? packed_rows(D, precision) : D;
}

/// W_g and mdi.W_g(h half), packed in the two orders in which the steps stream them: panels of some
/// columns, and in a panel, for each k, the weights of s, then those of g. Both are
/// [recurrence_panels(D)][D][2][kRecurrencePanel]. Kernels with bfloat16 factors have pairs of k in
/// the first half of this memory. Those with int8 weights have only `forward`, with
/// recurrence_rows() in place of D.
struct RecurrenceWeights {
  Tensor forward;   ///< columns are outputs, k inputs
  Tensor backward;  ///< columns are inputs, k outputs
};

/// Packs core_gate = W_g [D][D] and mdi_gate [D][D], the h half of mdi.W_g (a view of [D][2D]), for
/// kernels of the thread's precision.
void recurrence_pack(const Tensor& core_gate, const Tensor& mdi_gate,
                     const RecurrenceWeights& packed);

/// The recurrence over t = 0 .. T-1. All tensors are time-major, [T][B][D] unless stated otherwise;
/// rows may be strided.
///   s_t = sigmoid(W_g h_{t-1} + core_bias)
///   g_t = sigmoid(mdi.W_g(h half) h_{t-1} + mdi_input_t)
///   h_t = z_t s_t + gamma_t h_{t-1} + 0.1 ((1 - g_t) h_{t-1} + g_t z_t + gm_t h_{t-1})
/// mdi_input = mdi.W_g(z half) z + bias, computed by the caller. state [T+1][B][D]: state[0] is the
/// initial state (input), state[t+1] = h_t (output). gates [T][B][2D] (output): [s_t ; g_t]. gamma
/// and gm may be the same tensor (they are, without DPG).
void recurrence_forward(const RecurrenceWeights& packed, const Tensor& core_bias,
                        const Tensor& mdi_input, const Tensor& z, const Tensor& gamma,
                        const Tensor& gm, const Tensor& state, const Tensor& gates);

/// Backpropagation through time. Input: dstate [T][B][D], the gradient that reaches each h_t from
/// outside the recurrence. Outputs:
///   dpre [T][B][2D]    gradient of the sigmoids' arguments; the caller gets the weight gradients
///                      with one matrix product over it
///   dz [T][B][D]       gradient of z along the direct paths only, not through mdi_input
///   dgamma [T][B][D]   gradient of gamma; the gradient of gm is kMdiShare * dgamma
///   dstate_in [B][D]   gradient of the initial state
void recurrence_backward(const RecurrenceWeights& packed, const Tensor& dstate, const Tensor& gates,
                         const Tensor& z, const Tensor& gamma, const Tensor& gm,
                         const Tensor& state, const Tensor& dpre, const Tensor& dz,
                         const Tensor& dgamma, const Tensor& dstate_in);

/// Returns whether the batch has too few sequences and steps for recurrence_backward to use more
/// than one thread.
bool recurrence_backward_on_one_core(int T, int B);

/// Parallel in time. recurrence_forward and _backward cut T steps of B sequences into this number
/// of pieces, which are computed side by side as if they were sequences; 1: they are not cut.
/// Depends on nothing else, so that the results are the same for any number of threads.
int recurrence_pieces(int T, int B);

/// As recurrence_forward and _backward, with a given number of pieces of at least 128 steps each;
/// B = 1 if there is more than one. In a first pass the pieces begin with a state (gradient) of 0.
/// In a second pass they begin with what the first pass handed to them, and go on until the state
/// (gradient) that is carried along is that of the first pass, up to 2.5e-7 of its largest element:
/// the recurrence forgets where it began. Then the results of the first pass hold from there on. If
/// the two passes never agree, everything is computed again step by step. Returns the number of
/// steps of the second pass in every piece; T if it was in vain, 0 if there was none.
int recurrence_forward_in_pieces(int pieces, const RecurrenceWeights& packed,
                                 const Tensor& core_bias, const Tensor& mdi_input, const Tensor& z,
                                 const Tensor& gamma, const Tensor& gm, const Tensor& state,
                                 const Tensor& gates);
int recurrence_backward_in_pieces(int pieces, const RecurrenceWeights& packed, const Tensor& dstate,
                                  const Tensor& gates, const Tensor& z, const Tensor& gamma,
                                  const Tensor& gm, const Tensor& state, const Tensor& dpre,
                                  const Tensor& dz, const Tensor& dgamma, const Tensor& dstate_in);

}  // namespace mmrec::ops
