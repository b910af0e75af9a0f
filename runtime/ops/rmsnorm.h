#pragma once

#include "runtime/tensor.h"

namespace mmrec::ops {

/// y[n,:] = w x[n,:] rstd[n] with rstd[n] = 1 / (rms(x[n,:]) + kNormEpsilon), the epsilon outside the root. x, y [N][D], w [D], rstd [N].
void rmsnorm_forward(const Tensor& x, const Tensor& w, const Tensor& y, const Tensor& rstd);

/// dX = residual + gradient of rmsnorm_forward in x; dw [D] is added to. `residual` [N][D] is the gradient that reaches x by other ways;
/// it may be dX itself. The gradient in x of a row of zeros is taken as dY w rstd.
void rmsnorm_backward(const Tensor& dy, const Tensor& residual, const Tensor& x, const Tensor& rstd, const Tensor& w, const Tensor& dx,
                      const Tensor& dw);

}  // namespace mmrec::ops
