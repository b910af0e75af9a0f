#include "runtime/ops/linear_cross_entropy.h"

#include <algorithm>
#include <type_traits>

#include "generators/constants/constants.h"
#include "runtime/kernel_registry.h"
#include "runtime/ops/bf16_pairs.h"
#include "runtime/ops/ids.h"
#include "runtime/scratch.h"
#include "runtime/threads.h"

namespace mmrec::ops {

namespace {

/// Rows whose exponentials exist at the same time for the embedding's gradient. Large enough that
/// the gradient is read and written rarely; small enough that the exponentials (5 MB at V = 5000)
/// stay in the last-level cache.
constexpr int kBlockRows = 256;

/// A "whole" variant takes all rows: each of its steps is a pass over all of them. Any other
/// variant takes one panel of rows: the panel's exponentials stay in a core's cache from step to
/// step.
int rows_a_call(const Kernel& kernel, const Sizes& sizes) {
  return kernel.choose(sizes).whole() ? sizes.data()[0] : kLinearCrossEntropyPanel;
}

int panels_of(int rows) { return (rows + kLinearCrossEntropyPanel - 1) / kLinearCrossEntropyPanel; }

/// Splits rows [begin, end) into chunks of rows_a_call rows and runs body(begin, end) for each
/// chunk as a parallel task.
template <class Body>
void for_each_call(int begin, int end, int rows_a_call, const Body& body) {
  parallel_for((end - begin + rows_a_call - 1) / rows_a_call, [&](int i) {
    const int first = begin + i * rows_a_call;
    body(first, std::min(first + rows_a_call, end));
  });
}

void check(const char* name, const Tensor& x, const Tensor& embedding, const IntTensor& targets,
           const Tensor& token_loss, const Tensor& correct) {
  check_shape(name, x, {-1, -1});
  check_shape(name, embedding, {-1, x.size(1)});
  check_shape(name, targets, {x.size(0)});
  check_shape(name, token_loss, {x.size(0)});
  check_shape(name, correct, {x.size(0)});
  check_ids(name, targets, embedding.size(0));
}

/// The pairs of an embedding that kernels with bfloat16 factors read, in scratch memory.
struct EmbeddingPairs {
  /// Only the loss needs pairs along the depth alone.
  EmbeddingPairs(const Tensor& embedding, bool gradient)
      : V(embedding.size(0)),
        D(embedding.size(1)),
        memory(sizeof(int32_t) * (depth_count() + (gradient ? vocabulary_count() : 0))) {
    bf16_pairs_in_rows(embedding, by_depth());
    if (gradient) bf16_pairs_in_columns(embedding, by_vocabulary());
  }

  IntTensor by_depth() const { return {memory.data<int32_t>(), {V, (D + 1) / 2}}; }
  IntTensor by_vocabulary() const {
    return {memory.data<int32_t>() + depth_count(), {(V + 1) / 2, D}};
  }

 private:
  size_t depth_count() const { return static_cast<size_t>(V) * ((D + 1) / 2); }
  size_t vocabulary_count() const { return static_cast<size_t>((V + 1) / 2) * D; }

  int V, D;
  Scratch memory;
};

}  // namespace

void linear_cross_entropy(const Tensor& x, const Tensor& embedding, const IntTensor& targets,
                          const Tensor& token_loss, const Tensor& correct) {
  check("linear_cross_entropy", x, embedding, targets, token_loss, correct);
  const int N = x.size(0);
  if (N == 0) return;
  static Kernel kernel("linear_cross_entropy", "loss");
  const Sizes sizes{N, embedding.size(0), embedding.size(1)};
  const auto compute = [&](const auto& by_depth) {
    for_each_call(0, N, rows_a_call(kernel, sizes), [&](int begin, int end) {
      kernel(
          {.flops = 2.0 * (end - begin) * static_cast<double>(embedding.count()), .sizes = sizes},
          x.rows(begin, end), by_depth, targets.rows(begin, end), token_loss.rows(begin, end),
          correct.rows(begin, end));
    });
  };
  if (kernel.bf16()) {
    const EmbeddingPairs pairs(embedding, false);
    compute(pairs.by_depth());
  } else {
    compute(embedding);
  }
}

void linear_cross_entropy_with_gradient(const Tensor& x, const Tensor& embedding,
                                        const IntTensor& targets, float gradient_scale,
                                        const Tensor& token_loss, const Tensor& correct,
                                        const Tensor& dx, const Tensor& dembedding) {
  check("linear_cross_entropy_with_gradient", x, embedding, targets, token_loss, correct);
  check_shape("linear_cross_entropy_with_gradient: dx", dx, {x.size(0), x.size(1)});
  check_shape("linear_cross_entropy_with_gradient: dembedding", dembedding,
              {embedding.size(0), embedding.size(1)});
  static Kernel rows_kernel("linear_cross_entropy", "gradient"),
      embedding_kernel("linear_cross_entropy", "embedding_gradient");
  const int N = x.size(0), V = embedding.size(0), D = x.size(1);
  const Sizes sizes{N, V, D};
  const int call_rows = rows_a_call(rows_kernel, sizes),
            block_rows = std::max(call_rows, std::min(N, kBlockRows));
  const double product_flops = 2.0 * static_cast<double>(embedding.count());
  const auto compute = [&]<class Factor>(const TensorView<Factor>& by_depth,
                                         const TensorView<Factor>& by_vocabulary) {
    // floats, or bfloat16 of which two beside each other are a factor
    using Exponential = std::conditional_t<std::is_same_v<Factor, float>, float, uint16_t>;
    constexpr int kFactors = kLinearCrossEntropyPanel / (sizeof(Factor) / sizeof(Exponential));
    const size_t exponentials_count =
        static_cast<size_t>(panels_of(block_rows)) * V * kLinearCrossEntropyPanel;
    const Scratch memory(exponentials_count * sizeof(Exponential) + block_rows * sizeof(float));
    auto* const exponentials = memory.data<Exponential>();
    const Tensor factor(reinterpret_cast<float*>(exponentials + exponentials_count), {block_rows});
    for (int begin = 0; begin < N; begin += block_rows) {
      const int end = std::min(begin + block_rows, N);
      const int panels = panels_of(end - begin);
      const TensorView<Exponential> e(exponentials, {panels, V, kLinearCrossEntropyPanel});
      const TensorView<Factor> e_factors(reinterpret_cast<Factor*>(exponentials),
                                         {panels, V, kFactors});
      for_each_call(begin, end, call_rows, [&](int first, int last) {
        const int panel = (first - begin) / kLinearCrossEntropyPanel;
        rows_kernel({.flops = 2 * (last - first) * product_flops, .sizes = sizes},
                    x.rows(first, last), by_depth, targets.rows(first, last), by_vocabulary,
                    gradient_scale, token_loss.rows(first, last), correct.rows(first, last),
                    e.rows(panel, panel + panels_of(last - first)),
                    factor.rows(first - begin, last - begin), dx.rows(first, last));
      });
      embedding_kernel({.flops = (end - begin) * product_flops, .sizes = sizes}, x.rows(begin, end),
                       targets.rows(begin, end), gradient_scale, e_factors,
                       factor.rows(0, end - begin), dembedding, dembedding);
    }
  };
  if (rows_kernel.bf16()) {
    const EmbeddingPairs pairs(embedding, true);
    compute(pairs.by_depth(), pairs.by_vocabulary());
  } else {
    compute(embedding, embedding);
  }
}

}  // namespace mmrec::ops
