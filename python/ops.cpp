#include <fmt/ranges.h>

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <optional>

#include "python/array.h"
#include "python/bindings.h"
#include "python/computing.h"
#include "support/error.h"
#include "train/library/kernels.h"

namespace mmrec::python {

namespace {

using Floats = Array<float>;
constexpr auto kWrite = Floats::Access::kWrite;

/// Calls an operation. What it says of shapes is about the caller's arrays.
template <class Operation>
void call(const Operation& operation) {
  const Computing computing;
  try {
    operation();
  } catch (const Error& error) {
    throw UsageError(error.what());
  }
}

void scan(nb::handle x, nb::handle out) {
  const Floats in("x", x), result("out", out, kWrite);
  check_apart(result, in);
  call([&] { ops::scan_forward(in.tensor(), result.tensor()); });
}

void affine_scan(nb::handle a, nb::handle b, nb::handle h0, nb::handle out) {
  const Floats factors("a", a), terms("b", b), begin("h0", h0), result("out", out, kWrite);
  for (const Floats* in : {&factors, &terms, &begin}) check_apart(result, *in);
  call([&] {
    ops::affine_scan_forward(factors.tensor(), terms.tensor(), begin.tensor(), result.tensor());
  });
}

void gemm(nb::handle a, nb::handle b, nb::handle bias, float beta, nb::handle out) {
  const Floats left("a", a), right("b", b), result("out", out, kWrite);
  std::optional<Floats> added;
  if (!bias.is_none()) added.emplace("bias", bias);
  for (const Floats* in : {&left, &right}) check_apart(result, *in);
  if (added) check_apart(result, *added);
  if (left.is_transposed() && right.is_transposed())
    fail_usage(
        "a and b are both transposed, for which there is no kernel; "
        "numpy.ascontiguousarray makes a copy of one of them");
  call([&] {
    const Tensor c = result.tensor();
    const ops::GemmEpilogue epilogue{.bias = added ? added->tensor() : Tensor(),
                                     .residual = beta != 0 ? c : Tensor(),
                                     .beta = beta};
    const Tensor x = left.matrix(), y = right.matrix();
    if (left.is_transposed())
      ops::gemm_tn(x, y, c, epilogue);
    else if (right.is_transposed())
      ops::gemm_nt(x, y, c, epilogue);
    else
      ops::gemm_nn(x, y, c, epilogue);
  });
}

void rmsnorm(nb::handle x, nb::handle w, nb::handle out) {
  const Floats in("x", x), weight("w", w), result("out", out, kWrite);
  for (const Floats* read : {&in, &weight}) check_apart(result, *read);
  if (!std::ranges::equal(result.shape(), in.shape()))
    fail_usage("out has the shape [{}], and x [{}]; give an out of the shape of x",
               fmt::join(result.shape(), ","), fmt::join(in.shape(), ","));
  call([&] {
    const Tensor rows = in.rows();
    check_shape("rmsnorm: w", weight.tensor(), {rows.size(1)});
    if (rows.count() == 0) return;
    const auto factors = std::make_unique_for_overwrite<float[]>(rows.size(0));
    ops::rmsnorm_forward(rows, weight.tensor(), result.rows(), {factors.get(), {rows.size(0)}});
  });
}

}  // namespace

void bind_ops(nb::module_& module) {
  using nb::arg;
  module.def("scan", &scan, arg("x"), arg("out"));
  module.def("affine_scan", &affine_scan, arg("a"), arg("b"), arg("h0"), arg("out"));
  module.def("gemm", &gemm, arg("a"), arg("b"), arg("bias").none(), arg("beta"), arg("out"));
  module.def("rmsnorm", &rmsnorm, arg("x"), arg("w"), arg("out"));
}

}  // namespace mmrec::python
