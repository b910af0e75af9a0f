// Attention of few rows over keys that were packed beforehand (runtime/ops/attention.h): the slots
// lie in the vectors' lanes. A product of few rows reads its second factor once, so the values are
// read where they are.
#include <functional>

#include "generators/common/matmul.h"

namespace mmrec::generators {

class AttentionFewPacked : public ProductGenerator<AttentionFewPacked> {
 public:
  Input<Buffer<float, 3>> q{"q"};
  WeightInput<AttentionFewPacked, true> keys{this, "keys"};
  Input<Buffer<float, 3>> values{"values"};
  Output<Buffer<float, 3>> p{"p"}, context{"context"};

  void generate() {
    start_at_zero(q, keys, values, p, context);
    // units of a head, or slots, whose sums are computed side by side
    constexpr int kAtOnce = 2 * kWeightPanel;
    Var i("i"), s("s"), h("h"), n("n"), row("row"), tile("tile"), task("task");
    const Expr head_size = q.dim(0).extent(), S = p.dim(0).extent();
    const RDom k(0, head_size, "k"), slot(0, S, "slot");

    Func product("product"), scores("scores"), exponentials("exponentials"), inverse("inverse"),
        sums("sums"), narrow("narrow");
    product(s, h, n) = 0.f;
    product(s, h, n) += q(k, h, n) * keys.at(h * head_size + k, s, lanes());
    scores(s, h, n) = product(s, h, n) / sqrt(cast<float>(head_size));
    RowReduction largest("largest", RowReduction::Kind::kMax, S, {h, n},
                         [&](Expr slot) { return scores(slot, h, n); });
    exponentials(s, h, n) = exp(scores(s, h, n) - largest.result(h, n));
    RowReduction total("total", RowReduction::Kind::kSum, S, {h, n},
                       [&](Expr slot) { return exponentials(slot, h, n); });
    inverse(h, n) = 1.f / total.result(h, n);
    p(s, h, n) = exponentials(s, h, n) * inverse(h, n);
    for (Func& sum : {std::ref(sums), std::ref(narrow)}) {
      sum(i, h, n) = 0.f;
      sum(i, h, n) += p(slot, h, n) * values(i, h, slot);
    }
    const Expr whole = head_size % kAtOnce == 0;
    context(i, h, n) = select(whole, sums(i, h, n), narrow(i, h, n));

    // a task is some heads of some rows
    const Expr heads_per_task = max(kPackedSerial / max(2 * S * head_size, 1), 1);
    p.compute_root()
        .vectorize(s, lanes(), TailStrategy::GuardWithIf)
        .fuse(h, n, row)
        .split(row, task, row, heads_per_task, TailStrategy::GuardWithIf)
        .parallel(task);
    product.compute_at(p, row).bound(s, 0, (S + kAtOnce - 1) / kAtOnce * kAtOnce);
    product.vectorize(s, lanes());
    product.update().split(s, tile, s, kAtOnce).reorder(s, k, tile).vectorize(s, lanes()).unroll(s);
    exponentials.bound(s, 0, S).compute_at(p, row).vectorize(s, lanes(), TailStrategy::GuardWithIf);
    inverse.compute_at(p, row);
    largest.schedule_at(p, row);
    total.schedule_at(p, row);
    context.compute_root()
        .split(i, tile, i, kAtOnce, TailStrategy::GuardWithIf)
        .vectorize(i, lanes(), TailStrategy::GuardWithIf)
        .fuse(h, n, row)
        .split(row, task, row, heads_per_task, TailStrategy::GuardWithIf)
        .parallel(task);
    sums.bound_extent(i, kAtOnce).compute_at(context, tile).vectorize(i, lanes()).unroll(i);
    sums.update().reorder(i, slot).vectorize(i, lanes()).unroll(i);
    narrow.compute_at(context, tile).vectorize(i, lanes(), TailStrategy::GuardWithIf);
    narrow.update().reorder(i, slot).vectorize(i, lanes(), TailStrategy::GuardWithIf);
    context.specialize(whole);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::AttentionFewPacked, attention_few_packed)
