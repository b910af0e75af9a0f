#pragma once

#include "bench/reference/array.h"

namespace mmrec::reference {

struct Attention {
  Array p, context;  ///< [N][H][S], [N][D]
};

/// q [N][D]; keys, values [S][D]. Head h owns the columns [h D/H, (h+1) D/H).
inline Attention attention_forward(const Array& q, const Array& keys, const Array& values,
                                   int heads) {
  const int rows = q.size(0), slots = keys.size(0), width = q.size(1) / heads;
  Attention r{{rows, heads, slots}, {rows, q.size(1)}};
  for (int n = 0; n < rows; ++n)
    for (int h = 0; h < heads; ++h) {
      std::vector<Real> score(slots);
      for (int s = 0; s < slots; ++s) {
        for (int d = h * width; d < (h + 1) * width; ++d)
          score[s] += factor(q(n, d)) * factor(keys(s, d));
        score[s] = score[s] / sqrt(width);
      }
      Real largest = score[0], sum = 0;
      for (Real s : score) largest = largest < s ? s : largest;
      for (Real s : score) sum += exp(s - largest);
      for (int s = 0; s < slots; ++s) {
        r.p(n, h, s) = exp(score[s] - largest) / sum;
        for (int d = h * width; d < (h + 1) * width; ++d)
          r.context(n, d) += factor(r.p(n, h, s)) * factor(values(s, d));
      }
    }
  return r;
}

struct AttentionGradients {
  Array q, keys, values;
  Array scores;  ///< in the products q . keys, [H][N][S]
};

/// Backpropagates through the values to p, through the softmax to the scores, and to q and the
/// keys.
inline AttentionGradients attention_backward(const Array& dcontext, const Array& q,
                                             const Array& keys, const Array& values, int heads) {
  const int rows = q.size(0), slots = keys.size(0), width = q.size(1) / heads;
  const Array p = attention_forward(q, keys, values, heads).p;
  AttentionGradients g{
      Array(q.shape()), Array(keys.shape()), Array(values.shape()), {heads, rows, slots}};
  for (int n = 0; n < rows; ++n)
    for (int h = 0; h < heads; ++h) {
      std::vector<Real> dp(slots);
      Real mean = 0;
      for (int s = 0; s < slots; ++s) {
        for (int d = h * width; d < (h + 1) * width; ++d)
          dp[s] += factor(dcontext(n, d)) * factor(values(s, d));
        mean += p(n, h, s) * dp[s];
      }
      for (int s = 0; s < slots; ++s) {
        const Real dproduct = g.scores(h, n, s) = p(n, h, s) * (dp[s] - mean) / sqrt(width);
        for (int d = h * width; d < (h + 1) * width; ++d) {
          g.q(n, d) += factor(dproduct) * factor(keys(s, d));
          g.keys(s, d) += factor(dproduct) * factor(q(n, d));
          g.values(s, d) += factor(p(n, h, s)) * factor(dcontext(n, d));
        }
      }
    }
  return g;
}

}  // namespace mmrec::reference
