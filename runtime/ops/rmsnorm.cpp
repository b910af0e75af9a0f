#include "runtime/ops/rmsnorm.h"

#include "runtime/kernel_registry.h"

namespace mmrec::ops {

void rmsnorm_forward(const Tensor& x, const Tensor& w, const Tensor& y, const Tensor& rstd) {
  check_shape("rmsnorm_forward: x", x, {-1, -1});
  check_shape("rmsnorm_forward: w", w, {x.size(1)});
  check_shape("rmsnorm_forward: y", y, {x.size(0), x.size(1)});
  check_shape("rmsnorm_forward: rstd", rstd, {x.size(0)});
  static Kernel kernel("rmsnorm", "forward");
  kernel({.flops = 4.0 * static_cast<double>(x.count()), .sizes = {x.size(0), x.size(1)}}, x, w, y,
         rstd);
}

void rmsnorm_backward(const Tensor& dy, const Tensor& residual, const Tensor& x, const Tensor& rstd,
                      const Tensor& w, const Tensor& dx, const Tensor& dw) {
  check_shape("rmsnorm_backward: x", x, {-1, -1});
  const std::initializer_list<int> shape{x.size(0), x.size(1)};
  check_shape("rmsnorm_backward: dy", dy, shape);
  check_shape("rmsnorm_backward: residual", residual, shape);
  check_shape("rmsnorm_backward: rstd", rstd, {x.size(0)});
  check_shape("rmsnorm_backward: w", w, {x.size(1)});
  check_shape("rmsnorm_backward: dx", dx, shape);
  check_shape("rmsnorm_backward: dw", dw, {x.size(1)});
  static Kernel kernel("rmsnorm", "backward");
  kernel({.flops = 11.0 * static_cast<double>(x.count()), .sizes = shape}, dy, residual, x, rstd, w,
         dx, dw);
}

}  // namespace mmrec::ops
