// A matrix rounded to bfloat16, as the pairs that products read (runtime/ops/bf16_pairs.h,
// common/bf16.h): neighbours in a row, or in a column. What an odd extent lacks is 0.
#include "generators/common/kernel_generator.h"

namespace mmrec::generators {

template <class T, bool in_rows>
class Bf16PairsPlain : public KernelGenerator<T> {
 public:
  GeneratorInput<Buffer<float, 2>> x{"x"};     // [N][D]
  GeneratorOutput<Buffer<int32_t, 2>> y{"y"};  // [N][D / 2] or [N / 2][D]

  void generate() {
    start_at_zero(x, y);
    Var d("d"), n("n");
    const Expr extent = x.dim(in_rows ? 0 : 1).extent(), pair = in_rows ? Expr(d) : Expr(n);
    const auto at = [&](const Expr& index) { return in_rows ? x(index, n) : x(d, index); };
    y(d, n) = reinterpret<int32_t>(bf16_pair_of(extent, pair, at));
    this->schedule_rows(y, d, n);
    y.specialize(bf16_pairs_are_whole(extent));
  }
};

class Bf16PairsRows : public Bf16PairsPlain<Bf16PairsRows, true> {};
class Bf16PairsColumns : public Bf16PairsPlain<Bf16PairsColumns, false> {};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::Bf16PairsRows, bf16_pairs_plain_rows)
HALIDE_REGISTER_GENERATOR(mmrec::generators::Bf16PairsColumns, bf16_pairs_plain_columns)
