#include "runtime/ops/embedding.h"

#include "runtime/kernel_registry.h"
#include "runtime/ops/ids.h"

namespace mmrec::ops {

void embedding_forward(const Tensor& table, const IntTensor& ids, const Tensor& x) {
  check_shape("embedding_forward: table", table, {-1, -1});
  check_shape("embedding_forward: ids", ids, {-1});
  check_shape("embedding_forward: x", x, {ids.size(0), table.size(1)});
  check_ids("embedding_forward", ids, table.size(0));
  if (ids.size(0) == 0) return;
  static Kernel kernel("embedding", "forward");
  kernel({.sizes = {ids.size(0), table.size(1)}}, table, ids, x);
}

void embedding_backward(const Tensor& dx, const IntTensor& ids, const Tensor& dtable) {
  check_shape("embedding_backward: dtable", dtable, {-1, -1});
  check_shape("embedding_backward: ids", ids, {-1});
  check_shape("embedding_backward: dx", dx, {ids.size(0), dtable.size(1)});
  check_ids("embedding_backward", ids, dtable.size(0));
  if (ids.size(0) == 0) return;
  static Kernel kernel("embedding", "backward");
  kernel({.flops = static_cast<double>(dx.count()), .sizes = {dx.size(0), dx.size(1)}}, dx, ids,
         dtable);
}

}  // namespace mmrec::ops
