#pragma once

#include "runtime/tensor.h"

namespace mmrec::ops {

/// Factors of a product that is known to be symmetric, C = alpha A B + beta D.
struct GemmtEpilogue {
  float alpha = 1.f;
  Tensor d = {};  ///< [M][M], symmetric; null: none
  float beta = 0.f;
};

/// C = alpha A B + beta D [M][M] in the layouts of gemm (gemm.h): nn for A [M][K], B [K][M]; nt for
/// A [M][K], B [M][K]; tn for A [K][M], B [K][M]. The product must be symmetric but for rounding,
/// as A A^T is, and the product of two symmetric matrices that commute: about half of it is
/// computed, and the rest copied. (BLAS has such a product under this name.) C may not be one of
/// the other arrays.
void gemmt_nn(const Tensor& a, const Tensor& b, const Tensor& c,
              const GemmtEpilogue& epilogue = {});
void gemmt_nt(const Tensor& a, const Tensor& b, const Tensor& c,
              const GemmtEpilogue& epilogue = {});
void gemmt_tn(const Tensor& a, const Tensor& b, const Tensor& c,
              const GemmtEpilogue& epilogue = {});

}  // namespace mmrec::ops
