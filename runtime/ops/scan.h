#pragma once

#include "runtime/tensor.h"

namespace mmrec::ops {

/// Cumulative product along T of x [R][T][D]: y[r,t,d] = prod_{i <= t} x[r,i,d]. Elements of x must
/// be positive (decays of a gated recurrence are): the log-space variant takes their logarithm. The
/// blocked variants first multiply the factors within a block (T/8 neighbours), then multiply by
/// the blocks before it. The product within a block must not overflow, and may underflow to 0 only
/// if y does. Factors up to 1 always satisfy this.
void scan_forward(const Tensor& x, const Tensor& y);

/// Gradient of scan_forward, all [R][T][D]: dx_t = y_{t-1} s_t with s_t = dy_t + x_{t+1} s_{t+1}
/// and y_{-1} = 1. This equals (sum_{i >= t} dy_i y_i) / x_t, but needs no division.
void scan_backward(const Tensor& dy, const Tensor& x, const Tensor& y, const Tensor& dx);

/// h_t = a_t h_{t-1} + b_t along T of a, b, h [R][T][D], with h_{-1} = h0 [R][D].
void affine_scan_forward(const Tensor& a, const Tensor& b, const Tensor& h0, const Tensor& h);

/// Gradient of affine_scan_forward: db_t = dh_t + a_{t+1} db_{t+1}, da_t = db_t h_{t-1}, dh0 = a_0
/// db_0.
void affine_scan_backward(const Tensor& dh, const Tensor& a, const Tensor& h, const Tensor& h0,
                          const Tensor& da, const Tensor& db, const Tensor& dh0);

}  // namespace mmrec::ops
