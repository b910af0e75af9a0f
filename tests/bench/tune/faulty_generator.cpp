// RMSNorm forward (runtime/ops/rmsnorm.h) with a selectable fault. Only for tests, which check that
// the tuner rejects it.
#include <Halide.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>

#include "generators/common/rmsnorm.h"

namespace mmrec::test {

using namespace Halide;

class FaultyRmsnorm : public Generator<FaultyRmsnorm> {
 public:
  GeneratorParam<std::string> fault{"fault", "none"};

  Input<Buffer<float, 2>> x{"x"};
  Input<Buffer<float, 1>> w{"w"};
  Output<Buffer<float, 2>> y{"y"};
  Output<Buffer<float, 1>> rstd{"rstd"};

  void generate() {
    const std::string what = fault;
    if (what == "refused") throw CompileError("these parameters make no sense\n");
    if (what == "slow") std::this_thread::sleep_for(std::chrono::hours(1));
    if (what == "crash") std::abort();
    generators::start_at_zero(x, w, y, rstd);
    Var d("d"), n("n");
    const Expr D = x.dim(0).extent(), N = x.dim(1).extent();
    const RDom c(0, D);
    Func sum("sum");
    sum(n) = 0.f;
    sum(n) += x(c, n) * x(c, n);
    rstd(n) = 1.f / (sqrt(sum(n) / cast<float>(D)) + kNormEpsilon);
    Expr value = w(d) * x(d, n) * rstd(n);
    if (what == "last_column") value = select(d == D - 1, 1.01f * value, value);
    if (what == "odd_sizes")
      value = select(d >= D / 8 * 8, 0.f, value);  // correct only if 8 divides D
    if (what == "wild_read") value = value + x(d + 0x10000000, n);
    y(d, n) = value;
    sum.compute_root();
    rstd.compute_root();
  }
};

}  // namespace mmrec::test

HALIDE_REGISTER_GENERATOR(mmrec::test::FaultyRmsnorm, test_faulty_rmsnorm_forward)
