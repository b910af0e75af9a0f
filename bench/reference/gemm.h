#pragma once

#include "bench/reference/array.h"

namespace mmrec::reference {

inline Array transposed(const Array& x) {
  Array y{x.size(1), x.size(0)};
  for (int i = 0; i < x.size(0); ++i)
    for (int j = 0; j < x.size(1); ++j) y(j, i) = x(i, j);
  return y;
}

/// A [M][K] B [K][N] + bias [N] + beta R [M][N]; bias and R may be absent.
inline Array gemm_nn(const Array& a, const Array& b, const Array& bias = {},
                     const Array& residual = {}, double beta = 0) {
  Array c{a.size(0), b.size(1)};
  for (int m = 0; m < c.size(0); ++m)
    for (int n = 0; n < c.size(1); ++n) {
      Real sum = 0;
      for (int k = 0; k < b.size(0); ++k) sum += factor(a(m, k)) * factor(b(k, n));
      if (!bias.absent()) sum += bias(n);
      if (!residual.absent()) sum += beta * residual(m, n);
      c(m, n) = sum;
    }
  return c;
}

/// s[c] = sum_r x[r,c].
inline Array column_sum(const Array& x) {
  Array s{x.size(1)};
  for (int r = 0; r < x.size(0); ++r)
    for (int c = 0; c < x.size(1); ++c) s(c) += x(r, c);
  return s;
}

/// y = x W^T + b: x [N][K], W [M][K], b [M].
inline Array linear_forward(const Array& x, const Array& weight, const Array& bias) {
  return gemm_nn(x, transposed(weight), bias);
}

struct LinearGradient {
  Array dx, dweight, dbias;
};

inline LinearGradient linear_backward(const Array& dy, const Array& x, const Array& weight) {
  return {gemm_nn(dy, weight), gemm_nn(transposed(dy), x), column_sum(dy)};
}

}  // namespace mmrec::reference
