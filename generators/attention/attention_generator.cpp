// Attention of all rows over the memory slots, per head (runtime/ops/attention.h). Fused: scores,
// softmax and weighted sum of the values are one stage each over all rows. Unfused: each step of
// the softmax is a stage too. All buffers are split by head: q(i, h, n) with i within a head.
#include "generators/common/fusible.h"

namespace mmrec::generators {

template <class T>
class Attention : public FusibleGenerator<T> {
 protected:
  Var i{"i"}, h{"h"}, n{"n"}, s{"s"}, task{"task"};

  /// Schedules a stage over (h, n): parallel tasks of rows; the heads of a row one after the other.
  void schedule_heads(Func f) {
    f.compute_root()
        .split(n, task, n, int(this->rows_per_task), TailStrategy::GuardWithIf)
        .reorder(h, n, task)
        .parallel(task);
  }
  /// Schedules a stage over (s, h, n): the same, with vectors of slots.
  void schedule_slots(Func f) {
    schedule_heads(f);
    f.vectorize(s, this->lanes(), TailStrategy::GuardWithIf);
  }
  /// Schedules steps over (s, h, n) or (h, n) that are stages only in the unfused variant.
  void schedule_steps(std::initializer_list<Func> steps, Expr S, Expr H, Expr N) {
    if (this->fused) return;
    for (Func step : steps) {
      step.bound(h, 0, H).bound(n, 0, N);
      if (step.dimensions() == 3)
        schedule_slots(step.bound(s, 0, S));
      else
        schedule_heads(step);
    }
  }
};

class AttentionForward : public Attention<AttentionForward> {
 public:
  Input<Buffer<float, 3>> q{"q"}, keys{"keys"}, values{"values"};
  Output<Buffer<float, 3>> p{"p"}, context{"context"};

  void generate() {
    start_at_zero(q, keys, values, p, context);
    const Expr head_size = q.dim(0).extent(), H = q.dim(1).extent(), N = q.dim(2).extent(),
               S = keys.dim(2).extent();

    Matmul score(
        "score", N, S, head_size, [&](Expr k, Expr row) { return q(k, h, row); },
        [&](Expr slot, Expr k) { return keys(k, h, slot); }, tile(), {h});
    Func products("products"), scores("scores"), peak("peak"), exponentials("exponentials"),
        inverse("inverse");
    products(s, n, h) = score(s, n);
    scores(s, n, h) = products(s, n, h) / sqrt(cast<float>(head_size));
    RowReduction largest(
        "largest", RowReduction::Kind::kMax, S, {h, n},
        [&](Expr slot) { return scores(slot, n, h); });
    peak(h, n) = largest.result(h, n);
    exponentials(s, h, n) = exp(scores(s, n, h) - peak(h, n));
    RowReduction sum(
        "sum", RowReduction::Kind::kSum, S, {h, n},
        [&](Expr slot) { return exponentials(slot, h, n); });
    inverse(h, n) = 1.f / sum.result(h, n);
    p(s, h, n) = exponentials(s, h, n) * inverse(h, n);

    Matmul weighted(
        "weighted", N, head_size, S, [&](Expr slot, Expr row) { return p(slot, h, row); },
        [&](Expr column, Expr slot) { return values(column, h, slot); }, tile(), {h});
    context(i, h, n) = weighted(i, n);

    score.schedule(fused ? scores : products, s, n);
    schedule_steps({scores, peak, exponentials, inverse}, S, H, N);
    schedule_slots(p);
    if (fused) {  // per row and head; each task allocates the memory once
      exponentials.bound(s, 0, S).store_at(p, task).compute_at(p, h).vectorize(
          s, lanes(), TailStrategy::GuardWithIf);
      inverse.compute_at(p, h);
    }
    largest.schedule_at(fused ? p : peak, h);
    sum.schedule_at(fused ? p : inverse, h);
    weighted.schedule(context, i, n);
  }
};

class AttentionBackward : public Attention<AttentionBackward> {
 public:
  Input<Buffer<float, 3>> dcontext{"dcontext"}, keys{"keys"}, values{"values"}, p{"p"};
  Output<Buffer<float, 3>> dscores{"dscores"}, dq{"dq"};

  void generate() {
    start_at_zero(dcontext, keys, values, p, dscores, dq);
    const Expr head_size = dq.dim(0).extent(), H = dq.dim(1).extent(), N = dq.dim(2).extent(),
               S = keys.dim(2).extent();

    Matmul into_p(
        "into_p", N, S, head_size, [&](Expr k, Expr row) { return dcontext(k, h, row); },
        [&](Expr slot, Expr k) { return values(k, h, slot); }, tile(), {h});
    Func dp("dp"), weighted("weighted"), dot_value("dot_value"), through_softmax("through_softmax");
    dp(s, n, h) = into_p(s, n);
    weighted(s, h, n) = p(s, h, n) * dp(s, n, h);
    RowReduction dot(
        "dot", RowReduction::Kind::kSum, S, {h, n},
        [&](Expr slot) { return weighted(slot, h, n); });
    dot_value(h, n) = dot.result(h, n);
    through_softmax(s, h, n) = p(s, h, n) * (dp(s, n, h) - dot_value(h, n));
    dscores(s, n, h) = through_softmax(s, h, n) / sqrt(cast<float>(head_size));
    Matmul into_q(
        "into_q", N, head_size, S, [&](Expr slot, Expr row) { return dscores(slot, row, h); },
        [&](Expr column, Expr slot) { return keys(column, h, slot); }, tile(), {h});
    dq(i, h, n) = into_q(i, n);

    into_p.schedule(dp, s, n);
    schedule_steps({weighted, dot_value, through_softmax}, S, H, N);
    dscores.compute_root()
        .split(n, task, n, int(rows_per_task), TailStrategy::GuardWithIf)
        .reorder(s, n, h, task)
        .vectorize(s, lanes(), TailStrategy::GuardWithIf)
        .parallel(task);
    if (fused) dot_value.compute_at(dscores, n);
    dot.schedule_at(fused ? dscores : dot_value, fused ? n : h);
    into_q.schedule(dq, i, n);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::AttentionForward, attention_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::AttentionBackward, attention_backward)
