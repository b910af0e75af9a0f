#pragma once

#include "bench/reference/gemm.h"

namespace mmrec::reference {

struct LinearCrossEntropy {
  Array token_loss, correct, p;  ///< [N], [N]; the softmax [N][V]
};

/// Softmax cross-entropy of the logits x E^T against targets.
inline LinearCrossEntropy linear_cross_entropy(const Array& x, const Array& embedding,
                                               const std::vector<int32_t>& targets) {
  const int rows = x.size(0), vocabulary = embedding.size(0);
  const Array logits = gemm_nn(x, transposed(embedding));
  LinearCrossEntropy r{{rows}, {rows}, {rows, vocabulary}};
  for (int n = 0; n < rows; ++n) {
    const Real target = logits(n, targets[n]);
    Real largest = target, sum = 0;
    for (int v = 0; v < vocabulary; ++v) largest = largest < logits(n, v) ? logits(n, v) : largest;
    for (int v = 0; v < vocabulary; ++v) sum += exp(logits(n, v) - largest);
    for (int v = 0; v < vocabulary; ++v) r.p(n, v) = exp(logits(n, v) - largest) / sum;
    r.token_loss(n) = largest + log(sum) - target;
    r.correct(n) = target < largest ? 0 : 1;
  }
  return r;
}

struct LinearCrossEntropyGradient {
  Array dx, dembedding;
};

/// Gradient of scale * sum_n token_loss[n]. With respect to the logits it is the softmax minus one
/// at the target.
inline LinearCrossEntropyGradient linear_cross_entropy_backward(const Array& x,
                                                                const Array& embedding,
                                                                const std::vector<int32_t>& targets,
                                                                double scale) {
  Array dlogits = linear_cross_entropy(x, embedding, targets).p;
  for (int n = 0; n < x.size(0); ++n)
    for (int v = 0; v < embedding.size(0); ++v)
      dlogits(n, v) = scale * (factor(dlogits(n, v)) - (v == targets[n] ? 1 : 0));
  return {gemm_nn(dlogits, embedding), gemm_nn(transposed(dlogits), x)};
}

}  // namespace mmrec::reference
