// The feed-forward half of a block, y = r + mask_out (W2 (mask_hidden gelu(W1 rmsnorm(r) + b1)) +
// b2), and its gradients (runtime/ops/ffn.h). Fused: norm, bias, gelu, both dropout masks and the
// residual are in the packing or the epilogue of the two matrix products. Forward computes the
// gelu's derivative times the mask together with the gelu, because both use the same erf; backward
// then needs one multiplication, in the epilogue of the product that computes the hidden gradient.
#include "generators/common/activations.h"
#include "generators/common/dropout_mask.h"
#include "generators/common/fusible.h"
#include "generators/common/rmsnorm.h"

namespace mmrec::generators {

namespace {

/// Returns `dropped` (mask times value), or `value` without dropout. specialize() makes that a
/// separate branch.
Expr masked(const DropoutMask& mask, Expr value, Expr dropped) {
  return select(mask.threshold == 0, value, dropped);
}

}  // namespace

/// packed: the norm's weight was multiplied into the first matrix when that was packed.
template <class T, bool packed>
class FfnForwardOf : public FusibleGenerator<T> {
 public:
  GeneratorInput<Buffer<float, 2>> r{"r"};
  GeneratorInput<Buffer<float, 1>> norm{"norm"};
  WeightInput<T, packed> in{this, "in"};
  GeneratorInput<Buffer<float, 1>> in_bias{"in_bias"};
  WeightInput<T, packed> out{this, "out"};
  GeneratorInput<Buffer<float, 1>> out_bias{"out_bias"};
  GeneratorInput<uint32_t> hidden_key_low{"hidden_key_low"}, hidden_key_high{"hidden_key_high"},
      out_key_low{"out_key_low"}, out_key_high{"out_key_high"};
  GeneratorInput<uint32_t> threshold{"threshold"};
  GeneratorInput<float> keep_scale{"keep_scale"};
  GeneratorOutput<Buffer<float, 1>> rstd{"rstd"};
  // mask gelu'(hidden), mask gelu(hidden)
  typename ProductGenerator<T>::SavedTuple inner{this, "inner", 2, 2};
  GeneratorOutput<Buffer<float, 2>> y{"y"};

  void generate() {
    const int lanes = this->lanes();
    start_at_zero(r, norm, in, in_bias, out, out_bias, rstd, y);
    Var d("d"), f("f"), n("n");
    const Expr N = r.dim(1).extent(), D = r.dim(0).extent(), F = in_bias.dim(0).extent();
    const DropoutMask mask_hidden{hidden_key_low, hidden_key_high, threshold, keep_scale},
        mask_out{out_key_low, out_key_high, threshold, keep_scale};

    RmsnormRstd rows(r, D, n);
    rstd(n) = rows(n);
    Func weights("weights"), first_sum("first_sum"), hidden("hidden"), gelus("gelus");
    const Expr own = in.at(d, f, lanes);
    weights(d, f) = packed ? own : norm(d) * own;
    Matmul first(
        "first", N, F, D, [&](Expr k, Expr row) { return r(k, row); },
        [&](Expr column, Expr k) { return weights(k, column); },
        this->tile(Epilogue::kHeavy, packed));
    first_sum(f, n) = rstd(n) * in.scaled(first(f, n), f, lanes);
    hidden(f, n) = first_sum(f, n) + in_bias(f);
    const Expr slope = gelu_derivative(hidden(f, n)), activated = gelu(hidden(f, n)),
               mask = mask_hidden(n * F + f);
    gelus(f, n) = Tuple(slope, activated);
    inner(f, n) = Tuple(this->to_saved(masked(mask_hidden, slope, mask * gelus(f, n)[0])),
                        this->to_saved(masked(mask_hidden, activated, mask * gelus(f, n)[1])));
    Func inner_func = inner;
    Matmul second(
        "second", N, D, F, [&](Expr k, Expr row) { return inner_func(k, row)[1]; },
        [&](Expr column, Expr k) { return out.at(k, column, lanes); },
        this->tile(Epilogue::kHeavy, packed));
    Func second_sum("second_sum"), output("output"), dropped("dropped");
    second_sum(d, n) = out.scaled(second(d, n), d, lanes);
    output(d, n) = second_sum(d, n) + out_bias(d);
    dropped(d, n) = mask_out(n * D + d) * output(d, n);
    y(d, n) = r(d, n) + masked(mask_out, output(d, n), dropped(d, n));

    start_at_zero(inner_func);
    rows.schedule(rstd, n, this->rows_per_task);
    if (!packed) this->schedule_steps({weights}, {d, f, D, F});
    this->schedule_product(first, {first_sum, hidden, gelus, inner_func}, {f, n, F, N});
    this->schedule_product(second, {second_sum, output, dropped, y}, {d, n, D, N});
    inner_func.specialize(threshold == 0);
    y.specialize(threshold == 0);
  }
};

class FfnForward : public FfnForwardOf<FfnForward, false> {};
class FfnPacked : public FfnForwardOf<FfnPacked, true> {};

class FfnBackward : public FusibleGenerator<FfnBackward> {
 public:
  Input<Buffer<float, 2>> dy{"dy"}, r{"r"};
  Input<Buffer<float, 1>> norm{"norm"};
  Input<Buffer<float, 2>> in{"in"}, out{"out"};
  Input<uint32_t> out_key_low{"out_key_low"}, out_key_high{"out_key_high"}, threshold{"threshold"};
  Input<float> keep_scale{"keep_scale"};
  Input<Buffer<float, 1>> rstd{"rstd"};
  SavedInput<2> slope{this, "slope"}, activated{this, "activated"};
  Output<Buffer<float, 2>> dr{"dr"};
  Output<Buffer<float, 1>> dnorm{"dnorm"};
  Output<Buffer<float, 2>> din{"din"};
  Output<Buffer<float, 1>> din_bias{"din_bias"};
  Output<Buffer<float, 2>> dout{"dout"};
  Output<Buffer<float, 1>> dout_bias{"dout_bias"};

  void generate() {
    start_at_zero(dy, r, norm, in, out, rstd, slope, activated, dr, dnorm, din, din_bias, dout,
                  dout_bias);
    Var d("d"), f("f"), n("n");
    const Expr N = r.dim(1).extent(), D = r.dim(0).extent(), F = din_bias.dim(0).extent();
    const DropoutMask mask_out{out_key_low, out_key_high, threshold, keep_scale};
    const RDom row(0, N);

    // Second layer.
    Func dsecond("dsecond"), dactivated("dactivated"), dhidden("dhidden");
    dsecond(d, n) = masked(mask_out, dy(d, n), mask_out(n * D + d) * dy(d, n));
    Matmul into_out(
        "into_out", D, F, N, [&](Expr k, Expr m) { return dsecond(m, k); },
        [&](Expr column, Expr k) { return activated(column, k); }, tile_over_rows());
    Matmul into_hidden(
        "into_hidden", N, F, D, [&](Expr k, Expr m) { return dsecond(k, m); },
        [&](Expr column, Expr k) { return out(column, k); }, tile());
    dactivated(f, n) = into_hidden(f, n);
    dhidden(f, n) = dactivated(f, n) * from_saved(slope(f, n));

    // First layer and norm.
    Func normalized("normalized"), dnormalized("dnormalized"), through_norm("through_norm");
    normalized(d, n) = r(d, n) * rstd(n);
    Matmul into_in(
        "into_in", F, D, N, [&](Expr k, Expr m) { return dhidden(m, k); },
        [&](Expr column, Expr k) { return normalized(column, k); }, tile_over_rows());
    Matmul into_rows(
        "into_rows", N, D, F, [&](Expr k, Expr m) { return dhidden(k, m); },
        [&](Expr column, Expr k) { return in(column, k); }, tile());
    dnormalized(d, n) = into_rows(d, n);
    RmsnormGradient gradient(dnormalized, r, rstd, norm, D, N, d, n);
    through_norm(d, n) = gradient.dx(d, n);
    dr(d, n) = dy(d, n) + through_norm(d, n);

    schedule_rows(dsecond, d, n);
    into_out.add_to(dout, f, d, into_out(f, d));
    add_column_sum(dout_bias, dsecond, d, row);
    schedule_product(into_hidden, {dactivated, dhidden}, {f, n, F, N});
    schedule_steps({normalized, through_norm}, {d, n, D, N});
    into_in.add_to(din, d, f, norm(d) * into_in(d, f));
    add_column_sum(din_bias, dhidden, f, row);
    into_rows.schedule(dnormalized, d, n);
    gradient.schedule(rows_per_task);
    schedule_rows(dr, d, n);
    schedule_column_sum(gradient.dweight, d, gradient.row);
    gradient.add_dweight_to(dnorm, d, lanes());
    dsecond.specialize(threshold == 0);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::FfnForward, ffn_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::FfnPacked, ffn_few_packed)
HALIDE_REGISTER_GENERATOR(mmrec::generators::FfnBackward, ffn_backward)
