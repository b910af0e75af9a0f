// The tied output head and its softmax cross-entropy for one block of rows (runtime/ops/head_loss.h): the caller goes through
// the rows block by block, so that of the N x V logits only one block exists, in the last-level cache.
// token_loss = log sum exp(logits) - logit of the target; dlogits = (softmax - onehot) gradient_scale.
#include "generators/common/matmul.h"

namespace mmrec::generators {

template <class T>
class HeadLossBlocked : public MatmulGenerator<T> {
 public:
  GeneratorInput<Buffer<float, 2>> x{"x"}, embedding{"embedding"};
  GeneratorInput<Buffer<int32_t, 1>> targets{"targets"};

 protected:
  Var d{"d"}, v{"v"}, n{"n"};
  Func logits{"logits"}, statistics{"statistics"};  // statistics: largest logit and sum of the exponentials, for each row

  /// Defines and schedules the logits and the results for every row: token_loss and correct.
  void define_loss(Func results) {
    const Expr V = embedding.dim(1).extent();
    Matmul product(
        "logits", x.dim(1).extent(), V, x.dim(0).extent(), [&](Expr k, Expr row) { return x(k, row); },
        [&](Expr column, Expr k) { return embedding(k, column); }, this->tile());
    logits(v, n) = product(v, n);
    RowReduction largest(
        "largest", RowReduction::Kind::kMax, V, {n}, [&](Expr column) { return logits(column, n); }, this->lanes());
    Func shift("shift");
    shift(n) = largest.result(n);
    RowReduction sum(
        "sum", RowReduction::Kind::kSum, V, {n}, [&](Expr column) { return exp(logits(column, n) - shift(n)); }, this->lanes());
    statistics(n) = Tuple(shift(n), sum.result(n));
    const Expr target_logit = logits(target(n), n);
    results(n) = Tuple(log(statistics(n)[1]) + (statistics(n)[0] - target_logit), select(target_logit >= statistics(n)[0], 1.f, 0.f));

    product.schedule(logits, v, n);
    Var task("task");
    statistics.compute_root().split(n, task, n, this->rows_per_task, TailStrategy::GuardWithIf).parallel(task);
    shift.compute_at(statistics, n);
    largest.schedule_at(statistics, n);
    sum.schedule_at(statistics, n);
    start_at_zero(results);
  }

  Expr target(Expr row) { return clamp(targets(row), 0, embedding.dim(1).extent() - 1); }
};

class HeadLossBlockedLoss : public HeadLossBlocked<HeadLossBlockedLoss> {
 public:
  Output<Func> results{"results", {Float(32), Float(32)}, 1};  // token_loss, correct

  void generate() {
    start_at_zero(x, embedding, targets);
    define_loss(results);
  }
};

class HeadLossBlockedGradient : public HeadLossBlocked<HeadLossBlockedGradient> {
 public:
  Input<float> gradient_scale{"gradient_scale"};
  Input<Buffer<float, 2>> dembedding_in{"dembedding_in"};  // what the blocks before have added up; the first finds zeros
  Output<Func> results{"results", {Float(32), Float(32)}, 1};
  Output<Buffer<float, 2>> dx{"dx"}, dembedding{"dembedding"};

  void generate() {
    start_at_zero(x, embedding, targets, dembedding_in, dx, dembedding);
    define_loss(results);
    const Expr N = x.dim(1).extent(), D = x.dim(0).extent(), V = embedding.dim(1).extent();
    Func dlogits("dlogits");
    const Expr probability = exp(logits(v, n) - statistics(n)[0]) / statistics(n)[1];
    dlogits(v, n) = gradient_scale * (probability - select(v == target(n), 1.f, 0.f));
    Matmul into_x(
        "into_x", N, D, V, [&](Expr k, Expr row) { return dlogits(k, row); }, [&](Expr column, Expr k) { return embedding(column, k); }, tile());
    dx(d, n) = into_x(d, n);
    Matmul into_embedding(
        "into_embedding", V, D, N, [&](Expr k, Expr row) { return dlogits(row, k); }, [&](Expr column, Expr k) { return x(column, k); }, tile());
    dembedding(d, v) = dembedding_in(d, v) + into_embedding(d, v);

    schedule_rows(dlogits, v, n);
    into_x.schedule(dx, d, n);
    into_embedding.schedule(dembedding, d, v);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::HeadLossBlockedLoss, head_loss_blocked_loss)
HALIDE_REGISTER_GENERATOR(mmrec::generators::HeadLossBlockedGradient, head_loss_blocked_gradient)
