#include "runtime/ops/gemmt.h"

#include "runtime/kernel_registry.h"

namespace mmrec::ops {

namespace {

void run(Kernel& kernel, const char* name, const Tensor& a, const Tensor& b, const Tensor& c, int K,
         const GemmtEpilogue& epilogue) {
  const int M = c.size(0);
  if (M == 0) return;
  const bool has_d = epilogue.d.rank() != 0;
  const Tensor& d = has_d ? epilogue.d : c;  // not read without
  check_shape(name, d, {M, M});
  kernel({.flops = 1.0 * M * (M + 1) * K, .sizes = {M, K}}, a, b, d, epilogue.alpha,
         has_d ? epilogue.beta : 0.f, c);
}

}  // namespace

void gemmt_nn(const Tensor& a, const Tensor& b, const Tensor& c, const GemmtEpilogue& epilogue) {
  check_shape("gemmt_nn: a", a, {-1, -1});
  check_shape("gemmt_nn: b", b, {a.size(1), a.size(0)});
  check_shape("gemmt_nn: c", c, {a.size(0), a.size(0)});
  static Kernel kernel("gemmt", "nn");
  run(kernel, "gemmt_nn: d", a, b, c, a.size(1), epilogue);
}

void gemmt_nt(const Tensor& a, const Tensor& b, const Tensor& c, const GemmtEpilogue& epilogue) {
  check_shape("gemmt_nt: a", a, {-1, -1});
  check_shape("gemmt_nt: b", b, {a.size(0), a.size(1)});
  check_shape("gemmt_nt: c", c, {a.size(0), a.size(0)});
  static Kernel kernel("gemmt", "nt");
  run(kernel, "gemmt_nt: d", a, b, c, a.size(1), epilogue);
}

void gemmt_tn(const Tensor& a, const Tensor& b, const Tensor& c, const GemmtEpilogue& epilogue) {
  check_shape("gemmt_tn: a", a, {-1, -1});
  check_shape("gemmt_tn: b", b, {a.size(0), a.size(1)});
  check_shape("gemmt_tn: c", c, {a.size(1), a.size(1)});
  static Kernel kernel("gemmt", "tn");
  run(kernel, "gemmt_tn: d", a, b, c, a.size(0), epilogue);
}

}  // namespace mmrec::ops
