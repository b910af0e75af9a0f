#pragma once

#include "bench/reference/array.h"

namespace mmrec::reference {

/// x[n,:] = table[ids[n],:].
inline Array embedding_forward(const Array& table, const std::vector<int32_t>& ids) {
  Array x{static_cast<int>(ids.size()), table.size(1)};
  for (int n = 0; n < x.size(0); ++n)
    for (int d = 0; d < x.size(1); ++d) x(n, d) = table(ids[n], d);
  return x;
}

/// Returns dtable[ids[n],:] + dx[n,:], added in the order of n.
inline Array embedding_backward(const Array& dx, const std::vector<int32_t>& ids, Array dtable) {
  for (int n = 0; n < dx.size(0); ++n)
    for (int d = 0; d < dx.size(1); ++d) dtable(ids[n], d) += dx(n, d);
  return dtable;
}

}  // namespace mmrec::reference
