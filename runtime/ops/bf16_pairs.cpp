#include "runtime/ops/bf16_pairs.h"

#include "runtime/kernel_registry.h"

namespace mmrec::ops {

void bf16_pairs_in_rows(const Tensor& x, const IntTensor& y) {
  check_shape("bf16_pairs_in_rows: x", x, {-1, -1});
  check_shape("bf16_pairs_in_rows: y", y, {x.size(0), (x.size(1) + 1) / 2});
  if (x.count() == 0) return;
  static Kernel kernel("bf16_pairs", "rows");
  kernel({.sizes = {x.size(0), x.size(1)}}, x, y);
}

void bf16_pairs_in_columns(const Tensor& x, const IntTensor& y) {
  check_shape("bf16_pairs_in_columns: x", x, {-1, -1});
  check_shape("bf16_pairs_in_columns: y", y, {(x.size(0) + 1) / 2, x.size(1)});
  if (x.count() == 0) return;
  static Kernel kernel("bf16_pairs", "columns");
  kernel({.sizes = {x.size(0), x.size(1)}}, x, y);
}

}  // namespace mmrec::ops
