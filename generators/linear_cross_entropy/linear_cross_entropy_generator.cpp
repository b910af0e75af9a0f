// The tied output head and its softmax cross-entropy (runtime/ops/linear_cross_entropy.h). Fused: a
// call takes one panel of kLinearCrossEntropyPanel rows. Of the N x V logits only one panel per
// thread exists, in a core's own cache. Unfused: a call takes all rows, and every step is a pass
// over all panels.
//
// Rows lie in the vector lanes, [panels][V][panel]. So all three products broadcast the embedding,
// which is never packed, and maxima and sums over the vocabulary need no horizontal operations.
//   e[v,n] = exp(logit[n,v] - largest[n])
//   token_loss[n] = log sum_v e + (largest - logit of the target)
//   dx[n,:] = scale (sum_v e E[v,:] / sum_v e - E[target,:])
//   dE[v,:] = scale (sum_n x[n,:] e / sum_v e - sum of the x[n,:] whose target is v)
//
// With bfloat16 factors (common/bf16.h) the embedding comes as pairs along the dimension of each
// sum, made once for all calls, and e is rounded as it is stored: for dE's kernel two rows beside
// each other are a pair.
#include "generators/common/fusible.h"
#include "generators/constants/constants.h"

namespace mmrec::generators {

template <class T>
class LinearCrossEntropy : public FusibleGenerator<T> {
 public:
  template <int dimensions>
  using FactorInput = typename ProductGenerator<T>::template FactorInput<dimensions>;
  template <int dimensions>
  using SavedOutput = typename ProductGenerator<T>::template SavedOutput<dimensions>;

  GeneratorInput<Buffer<float, 2>> x{"x"};
  FactorInput<2> by_depth{this, "by_depth"};  // the embedding, [V][D] or pairs [V][D / 2]
  GeneratorInput<Buffer<int32_t, 1>> targets{"targets"};

 protected:
  Var d{"d"}, v{"v"}, n{"n"}, i{"i"}, k{"k"}, row{"row"}, tile_index{"tile_index"}, panel{"panel"};
  Func largest{"largest"}, sum{"sum"};

  Expr D() const { return x.dim(0).extent(); }
  Expr N() const { return x.dim(1).extent(); }
  Expr V() const { return by_depth.dim(1).extent(); }
  Expr target(Expr n) const { return clamp(targets(n), 0, V() - 1); }

  /// Element d of row v of the embedding, as the products have it.
  Expr embedding(const Expr& d, const Expr& v) const {
    if (!this->bf16()) return by_depth(d, v);
    const Expr pair = reinterpret<uint32_t>(by_depth(d / 2, v));
    return select(d % 2 == 0, bf16_first(pair), bf16_second(pair));
  }

  Expr panels() const {
    return this->fused ? Expr(1) : (N() + kLinearCrossEntropyPanel - 1) / kLinearCrossEntropyPanel;
  }
  Expr panel_of(Expr n) const { return this->fused ? Expr(0) : n / kLinearCrossEntropyPanel; }
  Expr lane_of(Expr n) const { return this->fused ? n : n % kLinearCrossEntropyPanel; }

  /// Schedules sums over depth for a tile of lanes i and of another variable `tile`, in the order
  /// of `outer` around it. A panel is more vectors than fit the registers together with a few rows:
  /// some at a time go along the depth.
  void schedule_sums(Stage sums, VarOrRVar tile, RVar depth, std::vector<VarOrRVar> outer) {
    int at_once = this->vectors_of_tile() * this->lanes();
    while (kLinearCrossEntropyPanel % at_once) at_once -= this->lanes();
    Var vectors("vectors");
    std::vector<VarOrRVar> order{i, tile, depth, vectors};
    order.insert(order.end(), outer.begin(), outer.end());
    sums.split(i, vectors, i, at_once)
        .reorder(order)
        .vectorize(i, this->lanes())
        .unroll(i)
        .unroll(tile)
        .unroll(vectors);
  }

  /// Schedules a stage over (i, .., panel). An update's loop over the vocabulary or the depth is
  /// inside the panel's loop.
  template <class FuncOrStage>
  void schedule_panels(FuncOrStage f) {
    f.vectorize(i, this->lanes()).unroll(i);
    if (!this->fused) f.parallel(panel);
  }

  /// Defines each row's token_loss and correct. Lanes past the last row repeat the last row.
  /// `exponentials`: where to store e(i, v, panel), too.
  void define_loss(Func results, std::optional<Func> exponentials = {}) {
    Func packed("packed"), products("products"), logits("logits"), e("e");
    const int rows = this->rows_of_tile(), lanes = this->lanes();
    const RDom depth(0, this->terms(D()), "depth"), vocabulary(0, V(), "vocabulary");
    packed(i, k, panel) = this->factor(D(), k, [&](const Expr& depth) {
      return x(depth, min(panel * kLinearCrossEntropyPanel + i, N() - 1));
    });
    products(i, row, tile_index, panel) = 0.f;
    products(i, row, tile_index, panel) =
        this->plus_product(products(i, row, tile_index, panel), packed(i, depth, panel),
                           by_depth(depth, min(tile_index * rows + row, V() - 1)));
    logits(i, v, panel) = products(i, v % rows, v / rows, panel);
    largest(i, panel) = Float(32).min();
    largest(i, panel) = max(largest(i, panel), logits(i, vocabulary, panel));
    e(i, v, panel) = exp(logits(i, v, panel) - largest(i, panel));
    sum(i, panel) = 0.f;
    sum(i, panel) += e(i, vocabulary, panel);
    const Expr lane = lane_of(n), of = panel_of(n), target_logit = logits(lane, target(n), of);
    results(n) = Tuple(log(sum(lane, of)) + (largest(lane, of) - target_logit),
                       select(target_logit >= largest(lane, of), 1.f, 0.f));

    for (Func f : {packed, logits, largest, sum})
      schedule_panels(
          f.compute_root().bound(i, 0, kLinearCrossEntropyPanel).bound(panel, 0, panels()));
    Var in_tile("in_tile");
    logits.bound(v, 0, V())
        .split(v, tile_index, in_tile, rows, TailStrategy::GuardWithIf)
        .reorder(i, in_tile, tile_index);
    products.bound(i, 0, kLinearCrossEntropyPanel).bound(row, 0, rows).bound_extent(tile_index, 1);
    products.compute_at(logits, tile_index).vectorize(i, lanes).unroll(i).unroll(row);
    schedule_sums(products.update(), row, depth, {});
    for (Func f : {largest, sum}) schedule_panels(f.update().reorder(i, vocabulary, panel));
    if (exponentials) {
      // In the loop of the sum, so that each is computed once and never read for it. (Halide joins
      // the loops if both keep the order of the vocabulary: the min, which does nothing, hides that
      // this one need not.)
      (*exponentials)(i, v, panel) = undef(exponentials->type());
      (*exponentials)(i, min(vocabulary, V() - 1), panel) = this->to_saved(e(i, vocabulary, panel));
      exponentials->bound(i, 0, kLinearCrossEntropyPanel).bound(panel, 0, panels());
      schedule_panels(exponentials->update().reorder(i, vocabulary, panel));
      exponentials->update().compute_with(sum.update(), vocabulary);
    }
    start_at_zero(results);
  }
};

class LinearCrossEntropyLoss : public LinearCrossEntropy<LinearCrossEntropyLoss> {
 public:
  Output<Func> results{"results", {Float(32), Float(32)}, 1};  // token_loss, correct

  void generate() {
    start_at_zero(x, by_depth, targets);
    define_loss(results);
  }
};

class LinearCrossEntropyGradient : public LinearCrossEntropy<LinearCrossEntropyGradient> {
 public:
  // Block of the vocabulary: this part of the embedding and of e stays in the cache for all of dx.
  Tunable depth_block{this, "depth_block", 128, {32, 64, 128, 256, 512}};
  // columns of dx that are summed side by side; 0: as many as the other products' tiles have rows
  Tunable dx_tile_rows{this, "dx_tile_rows", 0, {0, 2, 4, 6, 8, 10, 12}};

  std::string why_rejected() override {
    const std::string reason = FusibleGenerator::why_rejected();
    return reason.empty() ? FusibleGenerator::why_rejected(dx_tile_rows) : reason;
  }

  FactorInput<2> by_vocabulary{this, "by_vocabulary"};  // [V][D] or pairs [V / 2][D]
  Input<float> gradient_scale{"gradient_scale"};
  Output<Func> results{"results", {Float(32), Float(32)}, 1};  // token_loss, correct
  SavedOutput<3> exponentials{this, "exponentials"};           // e, [panels][V][panel]
  Output<Buffer<float, 1>> factor_of_row{"factor"};            // gradient_scale / sum of e
  Output<Buffer<float, 2>> dx{"dx"};

  void generate() {
    start_at_zero(x, by_depth, targets, by_vocabulary, exponentials, factor_of_row, dx);
    define_loss(results, exponentials);
    factor_of_row(n) = gradient_scale / sum(lane_of(n), panel_of(n));

    Func e_terms("e_terms"), sums("sums"), products("products");
    Var d_tile("d_tile"), d_in_tile("d_in_tile");
    const RDom vocabulary(0, terms(V()), "vocabulary");
    const int rows = dx_tile_rows ? int(dx_tile_rows) : automatic_rows(Epilogue::kLight);
    e_terms(i, v, panel) = factor(V(), v, [&](const Expr& v) { return exponentials(i, v, panel); });
    sums(i, d_in_tile, d_tile, panel) = 0.f;
    sums(i, d_in_tile, d_tile, panel) =
        plus_product(sums(i, d_in_tile, d_tile, panel), e_terms(i, vocabulary, panel),
                     by_vocabulary(min(d_tile * rows + d_in_tile, D() - 1), vocabulary));
    const Expr product = sums(lane_of(n), d % rows, d / rows, panel_of(n));
    products(d, n) = factor_of_row(n) * product;
    dx(d, n) = products(d, n) - gradient_scale * embedding(d, target(n));

    RVar outer("outer"), inner("inner");
    schedule_panels(sums.compute_root()
                        .bound(i, 0, kLinearCrossEntropyPanel)
                        .bound(d_in_tile, 0, rows)
                        .bound(panel, 0, panels()));
    Stage update = sums.update();
    update.split(vocabulary, outer, inner, int(depth_block), TailStrategy::GuardWithIf);
    schedule_sums(update, d_in_tile, inner, {d_tile, outer, panel});
    if (!fused) update.parallel(panel);
    if (bf16()) e_terms.compute_at(sums, outer).vectorize(i, lanes()).unroll(i);
    schedule_steps({products, dx}, {d, n, D(), N()});
    if (fused) dx.vectorize(d, lanes(), TailStrategy::GuardWithIf);
  }
};

/// dE of a block of rows, computed from its panels of e.
class LinearCrossEntropyEmbeddingGradient
    : public FusibleGenerator<LinearCrossEntropyEmbeddingGradient> {
 public:
  Input<Buffer<float, 2>> x{"x"};
  Input<Buffer<int32_t, 1>> targets{"targets"};
  Input<float> gradient_scale{"gradient_scale"};
  FactorInput<3> exponentials{this, "exponentials"};  // as LinearCrossEntropyGradient's
  Input<Buffer<float, 1>> factor_of_row{"factor"};
  // sum of the previous blocks; initially zeros
  Input<Buffer<float, 2>> dembedding_in{"dembedding_in"};
  Output<Buffer<float, 2>> dembedding{"dembedding"};

  void generate() {
    const int panel_terms = kLinearCrossEntropyPanel / (bf16() ? 2 : 1);
    start_at_zero(x, targets, exponentials, factor_of_row, dembedding_in, dembedding);
    Var d("d"), v("v"), n("n");
    const Expr N = x.dim(1).extent(), D = x.dim(0).extent(), V = exponentials.dim(1).extent();
    Func rows("rows"), products("products");
    rows(d, n) = x(d, n) * factor_of_row(n);
    // Lanes past the last row of the last panel are multiplied by zeros.
    Matmul product(
        "product", V, D, exponentials.dim(2).extent() * kLinearCrossEntropyPanel,
        [&](Expr k, Expr row) {
          const Expr e = exponentials(k % panel_terms, row, k / panel_terms);
          return bf16() ? reinterpret<uint32_t>(e) : e;
        },
        [&](Expr column, Expr k) { return select(k < N, rows(column, min(k, N - 1)), 0.f); },
        tile());
    product.split_depth(panel_terms);
    const RDom row(0, N, "row");
    products(d, v) = product(d, v);
    dembedding(d, v) = dembedding_in(d, v) + products(d, v);
    dembedding(d, clamp(targets(row), 0, V - 1)) -= gradient_scale * x(d, row);

    schedule_steps({rows}, {d, n, D, N});
    schedule_product(product, {products, dembedding}, {d, v, D, V});
    dembedding.update().vectorize(d, lanes(), TailStrategy::GuardWithIf);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::LinearCrossEntropyLoss, linear_cross_entropy_loss)
HALIDE_REGISTER_GENERATOR(mmrec::generators::LinearCrossEntropyGradient,
                          linear_cross_entropy_gradient)
HALIDE_REGISTER_GENERATOR(mmrec::generators::LinearCrossEntropyEmbeddingGradient,
                          linear_cross_entropy_embedding_gradient)
