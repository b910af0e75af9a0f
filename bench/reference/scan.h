#pragma once

#include "bench/reference/array.h"

namespace mmrec::reference {

/// Cumulative product along T of x [R][T][D].
inline Array scan_forward(const Array& x) {
  Array y(x.shape());
  for (int r = 0; r < x.size(0); ++r)
    for (int d = 0; d < x.size(2); ++d) {
      Real product = 1;
      for (int t = 0; t < x.size(1); ++t) y(r, t, d) = product *= x(r, t, d);
    }
  return y;
}

/// From the definition: dx_t = sum_{i >= t} dy_i prod_{j <= i, j != t} x_j.
inline Array scan_backward(const Array& dy, const Array& x) {
  Array dx(x.shape());
  for (int r = 0; r < x.size(0); ++r)
    for (int d = 0; d < x.size(2); ++d) {
      Real before = 1;  // prod_{j < t} x_j
      for (int t = 0; t < x.size(1); ++t) {
        Real others = before;
        for (int i = t; i < x.size(1); ++i) {
          if (i > t) others *= x(r, i, d);
          dx(r, t, d) += dy(r, i, d) * others;
        }
        before *= x(r, t, d);
      }
    }
  return dx;
}

/// h_t = a_t h_{t-1} + b_t along T, h_{-1} = h0 [R][D].
inline Array affine_scan_forward(const Array& a, const Array& b, const Array& h0) {
  Array h(a.shape());
  for (int r = 0; r < a.size(0); ++r)
    for (int d = 0; d < a.size(2); ++d) {
      Real state = h0(r, d);
      for (int t = 0; t < a.size(1); ++t) h(r, t, d) = state = a(r, t, d) * state + b(r, t, d);
    }
  return h;
}

struct AffineScanGradient {
  Array da, db, dh0;
};

/// `state` is the total gradient of h_t: from outside, and through h_{t+1}.
inline AffineScanGradient affine_scan_backward(const Array& dh, const Array& a, const Array& b,
                                               const Array& h0) {
  const Array h = affine_scan_forward(a, b, h0);
  AffineScanGradient gradient{Array(a.shape()), Array(a.shape()), Array(h0.shape())};
  for (int r = 0; r < a.size(0); ++r)
    for (int d = 0; d < a.size(2); ++d) {
      Real through = 0;
      for (int t = a.size(1) - 1; t >= 0; --t) {
        const Real state = dh(r, t, d) + through;
        gradient.da(r, t, d) = state * (t == 0 ? h0(r, d) : h(r, t - 1, d));
        gradient.db(r, t, d) = state;
        through = state * a(r, t, d);
      }
      gradient.dh0(r, d) = through;
    }
  return gradient;
}

}  // namespace mmrec::reference
