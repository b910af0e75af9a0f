#include "runtime/ops/scan.h"

#include "runtime/kernel_registry.h"

namespace mmrec::ops {

void scan_forward(const Tensor& x, const Tensor& y) {
  check_shape("scan_forward: x", x, {-1, -1, -1});
  check_shape("scan_forward: y", y, {x.size(0), x.size(1), x.size(2)});
  if (x.count() == 0) return;
  static Kernel kernel("scan", "forward");
  kernel({.flops = static_cast<double>(x.count()), .sizes = {x.size(0), x.size(1), x.size(2)}}, x,
         y);
}

void scan_backward(const Tensor& dy, const Tensor& x, const Tensor& y, const Tensor& dx) {
  check_shape("scan_backward: x", x, {-1, -1, -1});
  const std::initializer_list<int> shape{x.size(0), x.size(1), x.size(2)};
  check_shape("scan_backward: dy", dy, shape);
  check_shape("scan_backward: y", y, shape);
  check_shape("scan_backward: dx", dx, shape);
  if (x.count() == 0) return;
  static Kernel kernel("scan", "backward");
  kernel({.flops = 3.0 * static_cast<double>(x.count()), .sizes = shape}, dy, x, y, dx);
}

void affine_scan_forward(const Tensor& a, const Tensor& b, const Tensor& h0, const Tensor& h) {
  check_shape("affine_scan_forward: a", a, {-1, -1, -1});
  const std::initializer_list<int> shape{a.size(0), a.size(1), a.size(2)};
  check_shape("affine_scan_forward: b", b, shape);
  check_shape("affine_scan_forward: h0", h0, {a.size(0), a.size(2)});
  check_shape("affine_scan_forward: h", h, shape);
  if (a.count() == 0) return;
  static Kernel kernel("affine_scan", "forward");
  kernel({.flops = 2.0 * static_cast<double>(a.count()), .sizes = shape}, a, b, h0, h);
}

void affine_scan_backward(const Tensor& dh, const Tensor& a, const Tensor& h, const Tensor& h0,
                          const Tensor& da, const Tensor& db, const Tensor& dh0) {
  check_shape("affine_scan_backward: a", a, {-1, -1, -1});
  const std::initializer_list<int> shape{a.size(0), a.size(1), a.size(2)};
  check_shape("affine_scan_backward: dh", dh, shape);
  check_shape("affine_scan_backward: h", h, shape);
  check_shape("affine_scan_backward: h0", h0, {a.size(0), a.size(2)});
  check_shape("affine_scan_backward: da", da, shape);
  check_shape("affine_scan_backward: db", db, shape);
  check_shape("affine_scan_backward: dh0", dh0, {a.size(0), a.size(2)});
  if (a.count() == 0) return set_zero(dh0);
  static Kernel kernel("affine_scan", "backward");
  kernel({.flops = 3.0 * static_cast<double>(a.count()), .sizes = shape}, dh, a, h, h0, da, db,
         dh0);
}

}  // namespace mmrec::ops
