#include "runtime/ops/dropout.h"

#include "runtime/kernel_registry.h"

namespace mmrec::ops {

void dropout_forward(const Tensor& residual, const Tensor& a, const Tensor& b, float beta,
                     const Dropout& mask, const Tensor& y) {
  check_shape("dropout_forward: y", y, {-1, -1});
  for (const Tensor& input : {residual, a, b})
    check_shape("dropout_forward: residual, a, b", input, {y.size(0), y.size(1)});
  static Kernel kernel("dropout", "forward");
  kernel({.flops = 4.0 * static_cast<double>(y.count()), .sizes = {y.size(0), y.size(1)}}, residual,
         a, b, beta, mask.key.low, mask.key.high, dropout_threshold(mask.p), 1.f / (1.f - mask.p),
         y);
}

void dropout_backward(const Tensor& dy, float beta, const Dropout& mask, const Tensor& da,
                      const Tensor& db) {
  check_shape("dropout_backward: dy", dy, {-1, -1});
  for (const Tensor& output : {da, db})
    check_shape("dropout_backward: da, db", output, {dy.size(0), dy.size(1)});
  static Kernel kernel("dropout", "backward");
  kernel({.flops = 2.0 * static_cast<double>(dy.count()), .sizes = {dy.size(0), dy.size(1)}}, dy,
         beta, mask.key.low, mask.key.high, dropout_threshold(mask.p), 1.f / (1.f - mask.p), da,
         db);
}

}  // namespace mmrec::ops
