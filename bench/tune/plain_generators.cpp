// Operations without a schedule, for `tune compare`: compiled by Halide as they are, or by its
// autoschedulers. Autoschedulers need estimates of the sizes: generator parameters with the names
// of the operation's sizes.
#include <Halide.h>

#include "generators/common/gemm.h"

namespace mmrec::generators {

template <class T, Layout layout>
class PlainGemm : public GemmGenerator<KernelGenerator<T>, layout> {
 public:
  GeneratorParam<int> rows{"M", 512}, columns{"N", 512}, depth{"K", 512};

  void generate() {
    Var n("n"), m("m");
    const RDom k(0, this->K(), "k");
    Func sum("sum");
    sum(n, m) = 0.f;
    sum(n, m) += this->a_at(k, m) * this->b_at(n, k);
    this->c(n, m) = sum(n, m) + this->bias(n) + this->scaled_residual(n, m);

    const auto estimate = [](auto& matrix, int width, int height) {
      matrix.set_estimates({{0, width}, {0, height}});
    };
    layout == Layout::kTN ? estimate(this->a, rows, depth) : estimate(this->a, depth, rows);
    layout == Layout::kNT ? estimate(this->b, depth, columns) : estimate(this->b, columns, depth);
    this->bias.set_estimates({{0, columns}});
    estimate(this->residual, columns, rows);
    this->beta.set_estimate(1.f);
    estimate(this->c, columns, rows);
  }
};

class PlainGemmNN : public PlainGemm<PlainGemmNN, Layout::kNN> {};
class PlainGemmNT : public PlainGemm<PlainGemmNT, Layout::kNT> {};
class PlainGemmTN : public PlainGemm<PlainGemmTN, Layout::kTN> {};

/// y(d, t, r) = x(d, 0, r) * .. * x(d, t, r).
class PlainScanForward : public Generator<PlainScanForward> {
 public:
  GeneratorParam<int> rows{"R", 8}, steps{"T", 128}, columns{"D", 64};
  Input<Buffer<float, 3>> x{"x"};
  Output<Buffer<float, 3>> y{"y"};

  void generate() {
    Var d("d"), t("t"), r("r");
    const RDom later(1, x.dim(1).extent() - 1, "later");
    Func product("product");
    product(d, t, r) = x(d, t, r);
    product(d, later, r) = product(d, later - 1, r) * x(d, later, r);
    y(d, t, r) = product(d, t, r);
    x.set_estimates({{0, columns}, {0, steps}, {0, rows}});
    y.set_estimates({{0, columns}, {0, steps}, {0, rows}});
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::PlainGemmNN, plain_gemm_nn)
HALIDE_REGISTER_GENERATOR(mmrec::generators::PlainGemmNT, plain_gemm_nt)
HALIDE_REGISTER_GENERATOR(mmrec::generators::PlainGemmTN, plain_gemm_tn)
HALIDE_REGISTER_GENERATOR(mmrec::generators::PlainScanForward, plain_scan_forward)
