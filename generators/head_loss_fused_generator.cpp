// The tied output head and its softmax cross-entropy, for a panel of kHeadLossPanel rows at a time (runtime/ops/head_loss.h):
// of the N x V logits only one panel exists for each thread, in a core's own cache.
//
// The rows lie in the vectors' lanes, [V][panel]: the embedding then is what is broadcast in all three products and is never
// packed, and maxima and sums over the vocabulary add no lane to another.
//   e[v,n] = exp(logit[n,v] - largest[n]),  token_loss[n] = log sum_v e + (largest - logit of the target)
//   dx[n,:] = scale (sum_v e E[v,:] / sum_v e - E[target,:])
//   dE[v,:] = scale (sum_n x[n,:] e / sum_v e - sum of the x[n,:] whose target is v)
#include "generators/common/matmul.h"

namespace mmrec::generators {

namespace {

constexpr int kPanel = 32;  // ops::kHeadLossPanel

}  // namespace

template <class T>
class HeadLossFused : public MatmulGenerator<T> {
 public:
  GeneratorInput<Buffer<float, 2>> x{"x"}, embedding{"embedding"};
  GeneratorInput<Buffer<int32_t, 1>> targets{"targets"};

 protected:
  Var d{"d"}, v{"v"}, n{"n"}, i{"i"}, k{"k"}, row{"row"}, tile_index{"tile_index"};
  Func largest{"largest"}, sum{"sum"};

  Expr D() const { return x.dim(0).extent(); }
  Expr V() const { return embedding.dim(1).extent(); }
  Expr target(Expr n) { return clamp(targets(n), 0, V() - 1); }

  /// e(i, v), where the lanes past the last row repeat it, and every row's token_loss and correct.
  void define_loss(Func e, Func results) {
    Func packed("packed"), products("products"), logits("logits");
    const int rows = this->tile().rows, lanes = this->lanes();
    const RDom depth(0, D(), "depth"), vocabulary(0, V(), "vocabulary");
    packed(i, k) = x(k, min(i, x.dim(1).extent() - 1));
    products(i, row, tile_index) = 0.f;
    products(i, row, tile_index) += packed(i, depth) * embedding(depth, min(tile_index * rows + row, V() - 1));
    logits(i, v) = products(i, v % rows, v / rows);
    largest(i) = Float(32).min();
    largest(i) = max(largest(i), logits(i, vocabulary));
    e(i, v) = exp(logits(i, v) - largest(i));
    sum(i) = 0.f;
    sum(i) += e(i, vocabulary);
    const Expr target_logit = logits(n, target(n));
    results(n) = Tuple(log(sum(n)) + (largest(n) - target_logit), select(target_logit >= largest(n), 1.f, 0.f));

    for (Func f : {packed, logits, largest, e, sum}) f.compute_root().bound(i, 0, kPanel).vectorize(i, lanes).unroll(i);
    Var in_tile("in_tile");
    logits.bound(v, 0, V()).split(v, tile_index, in_tile, rows, TailStrategy::GuardWithIf).reorder(i, in_tile, tile_index);
    products.bound(i, 0, kPanel).bound(row, 0, rows).bound_extent(tile_index, 1);
    products.compute_at(logits, tile_index).vectorize(i, lanes).unroll(i).unroll(row);
    products.update().reorder(i, row, depth).vectorize(i, lanes).unroll(i).unroll(row);
    for (Func f : {largest, sum}) f.update().reorder(i, vocabulary).vectorize(i, lanes).unroll(i);
    start_at_zero(results);
  }
};

class HeadLossFusedLoss : public HeadLossFused<HeadLossFusedLoss> {
 public:
  Output<Func> results{"results", {Float(32), Float(32)}, 1};  // token_loss, correct

  void generate() {
    start_at_zero(x, embedding, targets);
    Func e("e");
    define_loss(e, results);
  }
};

class HeadLossFusedGradient : public HeadLossFused<HeadLossFusedGradient> {
 public:
  GeneratorParam<int> depth_block{"depth_block", 128};  // of the vocabulary: what of the embedding and of e stays in the cache for all of dx
  GeneratorParam<int> dx_tile_rows{"dx_tile_rows", 8};

  Input<float> gradient_scale{"gradient_scale"};
  Output<Func> results{"results", {Float(32), Float(32)}, 1};
  Output<Buffer<float, 2>> e{"e"};            // [V][panel]
  Output<Buffer<float, 1>> factor{"factor"};  // gradient_scale / sum of e
  Output<Buffer<float, 2>> dx{"dx"};

  void generate() {
    start_at_zero(x, embedding, targets, e, factor, dx);
    define_loss(e, results);
    factor(n) = gradient_scale / sum(n);

    Func sums("sums");
    Var d_tile("d_tile"), d_in_tile("d_in_tile");
    const RDom vocabulary(0, V(), "vocabulary");
    const int rows = dx_tile_rows;
    sums(i, d_in_tile, d_tile) = 0.f;
    sums(i, d_in_tile, d_tile) += e(i, vocabulary) * embedding(min(d_tile * rows + d_in_tile, D() - 1), vocabulary);
    dx(d, n) = factor(n) * sums(n, d % rows, d / rows) - gradient_scale * embedding(d, target(n));

    RVar outer("outer"), inner("inner");
    sums.compute_root().bound(i, 0, kPanel).bound(d_in_tile, 0, rows).vectorize(i, lanes()).unroll(i);
    sums.update()
        .split(vocabulary, outer, inner, depth_block, TailStrategy::GuardWithIf)
        .reorder(i, d_in_tile, inner, d_tile, outer)
        .vectorize(i, lanes())
        .unroll(i)
        .unroll(d_in_tile);
    dx.vectorize(d, lanes(), TailStrategy::GuardWithIf);
  }
};

/// dE of a block of rows from its panels of e.
class HeadLossFusedEmbeddingGradient : public MatmulGenerator<HeadLossFusedEmbeddingGradient> {
 public:
  Input<Buffer<float, 2>> x{"x"};
  Input<Buffer<int32_t, 1>> targets{"targets"};
  Input<float> gradient_scale{"gradient_scale"};
  Input<Buffer<float, 3>> e{"e"};  // [panels][V][panel]
  Input<Buffer<float, 1>> factor{"factor"};
  Input<Buffer<float, 2>> dembedding_in{"dembedding_in"};  // what the blocks before have added up; the first finds zeros
  Output<Buffer<float, 2>> dembedding{"dembedding"};

  void generate() {
    start_at_zero(x, targets, e, factor, dembedding_in, dembedding);
    Var d("d"), v("v");
    const Expr N = x.dim(1).extent(), D = x.dim(0).extent(), V = e.dim(1).extent();
    // Lanes of the last panel past the last row meet zeros.
    Matmul product(
        "product", V, D, e.dim(2).extent() * kPanel, [&](Expr n, Expr row) { return e(n % kPanel, row, n / kPanel); },
        [&](Expr column, Expr n) { return select(n < N, x(column, min(n, N - 1)) * factor(min(n, N - 1)), 0.f); }, tile());
    product.split_depth(kPanel);
    const RDom n(0, N, "n");
    dembedding(d, v) = dembedding_in(d, v) + product(d, v);
    dembedding(d, clamp(targets(n), 0, V - 1)) -= gradient_scale * x(d, n);

    product.schedule(dembedding, d, v);
    dembedding.update().vectorize(d, lanes(), TailStrategy::GuardWithIf);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::HeadLossFusedLoss, head_loss_fused_loss)
HALIDE_REGISTER_GENERATOR(mmrec::generators::HeadLossFusedGradient, head_loss_fused_gradient)
HALIDE_REGISTER_GENERATOR(mmrec::generators::HeadLossFusedEmbeddingGradient, head_loss_fused_embedding_gradient)
