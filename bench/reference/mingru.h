#pragma once

#include "bench/reference/ffn.h"
#include "bench/reference/hem.h"

namespace mmrec::reference {

/// Parameters of a minGRU block: norm1 [D], projection [2D][D] (rows of the gate, then of the
/// candidate), output [D][D].
struct MingruWeights {
  Array norm1, projection, projection_bias, output, output_bias;
  FfnWeights ffn;
};

/// x [T*B][D] time-major, state_in [B][D], and the dropout masks.
struct MingruInputs {
  Array x, state_in;
  MingruWeights weights;
  ops::Dropout mixer, ffn_hidden, ffn_output;
};

struct Mingru {
  Array z, c, h;  ///< [T*B][D]: gate, candidate, state after each position
  Array r, y;
};

inline Mingru mingru_forward(const MingruInputs& in) {
  const int rows = in.x.size(0), D = in.x.size(1), B = in.state_in.size(0);
  const Array projected =
      hem_forward(in.x, in.weights.norm1, in.weights.projection, in.weights.projection_bias).y;
  Mingru f{Array(in.x.shape()), Array(in.x.shape()), Array(in.x.shape()), {}, {}};
  for (int n = 0; n < rows; ++n)
    for (int d = 0; d < D; ++d) {
      const Real z = sigmoid(projected(n, d)), c = projected(n, D + d),
                 before = n < B ? in.state_in(n, d) : f.h(n - B, d);
      f.z(n, d) = z;
      f.c(n, d) = c;
      f.h(n, d) = (1 - z) * before + z * c;
    }
  f.r = in.x + dropout_mask(in.mixer, in.x.shape()) *
                   linear_forward(f.h, in.weights.output, in.weights.output_bias);
  f.y = ffn_forward(f.r, in.weights.ffn, in.ffn_hidden, in.ffn_output).y;
  return f;
}

struct MingruGradient {
  Array dx;
  MingruWeights weights;
};

inline MingruGradient mingru_backward(const Array& dy, const MingruInputs& in) {
  const int rows = in.x.size(0), D = in.x.size(1), B = in.state_in.size(0);
  const Mingru f = mingru_forward(in);
  const FfnGradient ffn = ffn_backward(dy, f.r, in.weights.ffn, in.ffn_hidden, in.ffn_output);
  const LinearGradient output =
      linear_backward(dropout_mask(in.mixer, in.x.shape()) * ffn.dr, f.h, in.weights.output);
  // through: gradient that reaches h_t from h_{t+1}
  Array through({B, D}), dprojected({rows, 2 * D});
  for (int n = rows - 1; n >= 0; --n)
    for (int d = 0; d < D; ++d) {
      const Real z = f.z(n, d), before = n < B ? in.state_in(n, d) : f.h(n - B, d),
                 dh = output.dx(n, d) + through(n % B, d);
      dprojected(n, d) = dh * (f.c(n, d) - before) * z * (1 - z);
      dprojected(n, D + d) = dh * z;
      through(n % B, d) = dh * (1 - z);
    }
  const HemGradient hem =
      hem_backward(dprojected, ffn.dr, in.x, in.weights.norm1, in.weights.projection);
  return {hem.dx,
          {hem.dnorm_weight, hem.dweight, hem.dbias, output.dweight, output.dbias, ffn.weights}};
}

}  // namespace mmrec::reference
