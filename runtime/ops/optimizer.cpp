#include "runtime/ops/optimizer.h"

#include "runtime/kernel_registry.h"
#include "runtime/scratch.h"
#include "support/error.h"
#include "support/same_bits_math.h"

namespace mmrec::ops {

void adamw(const AdamW& settings, const Tensor& gradient, const Tensor& weight, const Tensor& m,
           const Tensor& v) {
  check_shape("adamw: gradient", gradient, {-1});
  for (const Tensor& array : {weight, m, v})
    check_shape("adamw: weight, m, v", array, {gradient.size(0)});
  if (settings.step < 1) fail("adamw: steps count from 1, not {}", settings.step);
  const auto correction = [&](float beta) {
    return static_cast<float>(1 / (1 - same_bits::power(beta, settings.step)));
  };
  static Kernel kernel("adamw", "step");
  kernel({.flops = 16.0 * gradient.size(0), .sizes = {gradient.size(0)}}, gradient, weight, m, v,
         settings.learning_rate, settings.beta1, settings.beta2, settings.epsilon, settings.decay,
         settings.gradient_scale, correction(settings.beta1), correction(settings.beta2), weight, m,
         v);
}

void move_average(float share, const Tensor& weight, const Tensor& average) {
  check_shape("move_average: weight", weight, {-1});
  check_shape("move_average: average", average, {weight.size(0)});
  static Kernel kernel("moving_average", "step");
  kernel({.flops = 3.0 * weight.size(0), .sizes = {weight.size(0)}}, weight, average, share,
         average);
}

double sum_of_squares(const Tensor& x) {
  check_shape("sum_of_squares: x", x, {-1});
  constexpr int kChunk = 4096;
  const int whole = x.size(0) / kChunk;
  const Scratch sums((whole + 1) * sizeof(float));
  static Kernel kernel("sum_of_squares", "forward");
  auto add_chunks = [&](int begin, int chunks, int length) {
    kernel({.flops = 2.0 * chunks * length, .sizes = {chunks * length}},
           Tensor(x.data() + begin, {chunks, length}),
           Tensor(sums.data<float>() + begin / kChunk, {chunks}));
  };
  add_chunks(0, whole, kChunk);
  add_chunks(whole * kChunk, 1, x.size(0) - whole * kChunk);
  double total = 0;
  for (int chunk = 0; chunk <= whole; ++chunk) total += sums.data<float>()[chunk];
  return total;
}

}  // namespace mmrec::ops
