// Attention of all rows over the memory's slots, per head (runtime/ops/attention.h): scores, softmax and the weighted sum of
// the values, each a stage over all rows. All buffers are split by head: q(i, h, n) with i in a head.
#include "generators/common/matmul.h"

namespace mmrec::generators {

class AttentionFusedForward : public MatmulGenerator<AttentionFusedForward> {
 public:
  Input<Buffer<float, 3>> q{"q"}, keys{"keys"}, values{"values"};
  Output<Buffer<float, 3>> p{"p"}, context{"context"};

  void generate() {
    start_at_zero(q, keys, values, p, context);
    Var i("i"), h("h"), n("n"), s("s");
    const Expr head_size = q.dim(0).extent(), N = q.dim(2).extent(), S = keys.dim(2).extent();

    Matmul score(
        "score", N, S, head_size, [&](Expr k, Expr row) { return q(k, h, row); }, [&](Expr slot, Expr k) { return keys(k, h, slot); }, tile(), {h});
    Func scores("scores");
    scores(s, n, h) = score(s, n) / sqrt(cast<float>(head_size));
    RowReduction largest(
        "largest", RowReduction::Kind::kMax, S, {n, h}, [&](Expr slot) { return scores(slot, n, h); }, lanes());
    // The exponentials are computed twice, once for their sum: that is cheaper than a place to keep them.
    RowReduction sum(
        "sum", RowReduction::Kind::kSum, S, {n, h}, [&](Expr slot) { return exp(scores(slot, n, h) - largest.result(n, h)); }, lanes());
    Func inverse("inverse");
    inverse(n, h) = 1.f / sum.result(n, h);
    p(s, h, n) = exp(scores(s, n, h) - largest.result(n, h)) * inverse(n, h);

    Matmul weighted(
        "weighted", N, head_size, S, [&](Expr slot, Expr row) { return p(slot, h, row); },
        [&](Expr column, Expr slot) { return values(column, h, slot); }, tile(), {h});
    context(i, h, n) = weighted(i, n);

    score.schedule(scores, s, n);
    Var task("task");
    p.compute_root()
        .split(n, task, n, rows_per_task, TailStrategy::GuardWithIf)
        .reorder(s, h, n, task)
        .vectorize(s, lanes(), TailStrategy::GuardWithIf)
        .parallel(task);
    inverse.compute_at(p, h);
    largest.schedule_at(p, h);
    sum.schedule_at(p, h);
    weighted.schedule(context, i, n);
  }
};

class AttentionFusedBackward : public MatmulGenerator<AttentionFusedBackward> {
 public:
  Input<Buffer<float, 3>> dcontext{"dcontext"}, keys{"keys"}, values{"values"}, p{"p"};
  Output<Buffer<float, 3>> dq{"dq"};

  void generate() {
    start_at_zero(dcontext, keys, values, p, dq);
    Var i("i"), h("h"), n("n"), s("s");
    const Expr head_size = dq.dim(0).extent(), N = dq.dim(2).extent(), S = keys.dim(2).extent();

    Matmul into_p(
        "into_p", N, S, head_size, [&](Expr k, Expr row) { return dcontext(k, h, row); }, [&](Expr slot, Expr k) { return values(k, h, slot); },
        tile(), {h});
    Func dp("dp"), dot_value("dot_value"), dscores("dscores");
    dp(s, n, h) = into_p(s, n);
    RowReduction dot(
        "dot", RowReduction::Kind::kSum, S, {n, h}, [&](Expr slot) { return p(slot, h, n) * dp(slot, n, h); }, lanes());
    dot_value(n, h) = dot.result(n, h);
    dscores(s, n, h) = p(s, h, n) * (dp(s, n, h) - dot_value(n, h)) / sqrt(cast<float>(head_size));
    Matmul into_q(
        "into_q", N, head_size, S, [&](Expr slot, Expr row) { return dscores(slot, row, h); },
        [&](Expr column, Expr slot) { return keys(column, h, slot); }, tile(), {h});
    dq(i, h, n) = into_q(i, n);

    into_p.schedule(dp, s, n);
    Var task("task");
    dscores.compute_root()
        .split(n, task, n, rows_per_task, TailStrategy::GuardWithIf)
        .reorder(s, n, h, task)
        .vectorize(s, lanes(), TailStrategy::GuardWithIf)
        .parallel(task);
    dot_value.compute_at(dscores, n);
    dot.schedule_at(dscores, n);
    into_q.schedule(dq, i, n);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::AttentionFusedForward, attention_fused_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::AttentionFusedBackward, attention_fused_backward)
