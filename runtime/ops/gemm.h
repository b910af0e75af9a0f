#pragma once

#include "runtime/ops/weight.h"
#include "runtime/tensor.h"

namespace mmrec::ops {

/// Terms added to a product: C = A B + bias + beta R.
struct GemmEpilogue {
  Tensor bias = {};      ///< [N]; empty: none
  Tensor residual = {};  ///< R [M][N]; empty: none. May be strided, or C itself (accumulation)
  float beta = 0.f;
};

/// C[m,n] = sum_k A[m,k] B[k,n] (+ epilogue). A [M][K], B [K][N], C [M][N]. Rows may be strided.
/// Sizes may be 0.
void gemm_nn(const Tensor& a, const Tensor& b, const Tensor& c, const GemmEpilogue& epilogue = {});
/// C[m,n] = sum_k A[m,k] B[n,k] (+ epilogue): a linear layer with weights [out][in]. A [M][K], B
/// [N][K].
void gemm_nt(const Tensor& a, const Tensor& b, const Tensor& c, const GemmEpilogue& epilogue = {});
/// C[m,n] = sum_k A[k,m] B[k,n] (+ epilogue). A [K][M], B [K][N].
void gemm_tn(const Tensor& a, const Tensor& b, const Tensor& c, const GemmEpilogue& epilogue = {});

/// The same products of arrays of bfloat16, with sums and C in single precision: no factor is
/// rounded, and half as many bytes are read. For CPUs with AVX512-BF16; throws an Error on others
/// (why_no_bf16(), runtime/kernel_registry.h). Fastest where k, if it is a matrix's inner
/// dimension, and that matrix's row stride are even: otherwise the call copies the matrix.
void gemm_nn(const Bf16Tensor& a, const Bf16Tensor& b, const Tensor& c,
             const GemmEpilogue& epilogue = {});
void gemm_nt(const Bf16Tensor& a, const Bf16Tensor& b, const Tensor& c,
             const GemmEpilogue& epilogue = {});
void gemm_tn(const Bf16Tensor& a, const Bf16Tensor& b, const Tensor& c,
             const GemmEpilogue& epilogue = {});

/// Y = X W^T (+ epilogue): gemm_nt, or with a packed W the product for few rows. X [N][in], W
/// [out][in], Y [N][out].
void linear(const Tensor& x, const Weight& weight, const Tensor& y,
            const GemmEpilogue& epilogue = {});

/// Gradients of a linear layer: dweight += dY^T X, dbias += sum of dY's rows. dY [N][out], X
/// [N][in]; rows may be strided. dbias may be empty.
void linear_gradients(const Tensor& dy, const Tensor& x, const Tensor& dweight,
                      const Tensor& dbias = {});

/// s[c] += sum_r x[r,c]: the gradient of a bias. x [R][C], s [C]; rows of x may be strided.
void column_sum(const Tensor& x, const Tensor& s);

}  // namespace mmrec::ops
