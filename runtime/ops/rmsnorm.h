#pragma once

#include "runtime/tensor.h"

namespace mmrec::ops {

/// y[n,:] = w x[n,:] rstd[n] with rstd[n] = 1 / (rms(x[n,:]) + kNormEpsilon); the epsilon is
/// outside the square root. x, y [N][D], w [D], rstd [N].
void rmsnorm_forward(const Tensor& x, const Tensor& w, const Tensor& y, const Tensor& rstd);

/// dx = residual + gradient of rmsnorm_forward with respect to x; adds the gradient of w to dw [D].
/// `residual` [N][D] is the gradient that reaches x along other paths; it may be dx itself. For a
/// row of zeros the gradient with respect to x is defined as dy w rstd.
void rmsnorm_backward(const Tensor& dy, const Tensor& residual, const Tensor& x, const Tensor& rstd,
                      const Tensor& w, const Tensor& dx, const Tensor& dw);

}  // namespace mmrec::ops
