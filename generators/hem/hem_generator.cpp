// HEM: RMSNorm and projection in one kernel (runtime/ops/hem.h).
//   y[n,p] = s_n sum_d x[n,d] (w_d W[p,d]) + b_p,  s_n = 1 / (rms(x[n,:]) + epsilon)
// The norm's weight is multiplied into W, and the row's factor into the finished sums. Fused:
// during packing and in the epilogue. Normalising costs one read of x, and the normalised rows are
// never stored, forward or backward.
#include "generators/common/fusible.h"
#include "generators/common/rmsnorm.h"

namespace mmrec::generators {

/// packed: the norm's weight was multiplied into W when that was packed.
template <class T, bool packed>
class HemForwardOf : public FusibleGenerator<T> {
 public:
  GeneratorInput<Buffer<float, 2>> x{"x"};
  GeneratorInput<Buffer<float, 1>> norm_weight{"norm_weight"};
  WeightInput<T, packed> weight{this, "weight"};
  GeneratorInput<Buffer<float, 1>> bias{"bias"};
  GeneratorOutput<Buffer<float, 1>> rstd{"rstd"};
  GeneratorOutput<Buffer<float, 2>> y{"y"};

  void generate() {
    const int lanes = this->lanes();
    start_at_zero(x, norm_weight, weight, bias, rstd, y);
    Var d("d"), p("p"), n("n");
    const Expr D = x.dim(0).extent(), N = x.dim(1).extent(), P = bias.dim(0).extent();
    RmsnormRstd norm(x, D, n);
    rstd(n) = norm(n);
    Func weights("weights"), projected("projected");
    const Expr own = weight.at(d, p, lanes);
    weights(d, p) = packed ? own : norm_weight(d) * own;
    Matmul product(
        "product", N, P, D, [&](Expr k, Expr row) { return x(k, row); },
        [&](Expr column, Expr k) { return weights(k, column); },
        this->tile(Epilogue::kLight, packed));
    projected(p, n) = rstd(n) * weight.scaled(product(p, n), p, lanes);
    y(p, n) = projected(p, n) + bias(p);

    norm.schedule(rstd, n, this->rows_per_task);
    if (!packed) this->schedule_steps({weights}, {d, p, D, P});
    this->schedule_product(product, {projected, y}, {p, n, P, N});
  }
};

class HemForward : public HemForwardOf<HemForward, false> {};
class HemPacked : public HemForwardOf<HemPacked, true> {};

class HemBackward : public FusibleGenerator<HemBackward> {
 public:
  Input<Buffer<float, 2>> dy{"dy"}, residual{"residual"}, x{"x"};
  Input<Buffer<float, 1>> rstd{"rstd"}, norm_weight{"norm_weight"};
  Input<Buffer<float, 2>> weight{"weight"};
  Output<Buffer<float, 2>> dx{"dx"};
  Output<Buffer<float, 1>> dnorm_weight{"dnorm_weight"};
  Output<Buffer<float, 2>> dweight{"dweight"};
  Output<Buffer<float, 1>> dbias{"dbias"};

  void generate() {
    start_at_zero(dy, residual, x, rstd, norm_weight, weight, dx, dnorm_weight, dweight, dbias);
    Var d("d"), p("p"), n("n");
    const Expr D = norm_weight.dim(0).extent(), N = rstd.dim(0).extent(), P = dbias.dim(0).extent();

    // Gradient of the normalised rows, dY W; then through the norm.
    Func dnormalized("dnormalized"), through_norm("through_norm");
    Matmul into_rows(
        "into_rows", N, D, P, [&](Expr k, Expr row) { return dy(k, row); },
        [&](Expr column, Expr k) { return weight(column, k); }, tile());
    dnormalized(d, n) = into_rows(d, n);
    RmsnormGradient norm(dnormalized, x, rstd, norm_weight, D, N, d, n);
    through_norm(d, n) = norm.dx(d, n);
    dx(d, n) = residual(d, n) + through_norm(d, n);

    // dW[p,d] += w_d sum_n dy[n,p] (x[n,d] s_n)
    Func rows("rows");
    rows(d, n) = x(d, n) * rstd(n);
    Matmul into_weight(
        "into_weight", P, D, N, [&](Expr row, Expr out) { return dy(out, row); },
        [&](Expr column, Expr row) { return rows(column, row); }, tile_over_rows());
    const RDom row(0, N);

    into_rows.schedule(dnormalized, d, n);
    norm.schedule(rows_per_task);
    schedule_steps({through_norm, rows}, {d, n, D, N});
    schedule_rows(dx, d, n);
    schedule_column_sum(norm.dweight, d, norm.row);
    norm.add_dweight_to(dnorm_weight, d, lanes());
    into_weight.add_to(dweight, d, p, norm_weight(d) * into_weight(d, p));
    add_column_sum(dbias, dy, p, row);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::HemForward, hem_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::HemPacked, hem_few_packed)
HALIDE_REGISTER_GENERATOR(mmrec::generators::HemBackward, hem_backward)
