#include "runtime/ops/head_loss.h"

#include <algorithm>

#include "runtime/kernel_registry.h"
#include "runtime/ops/ids.h"
#include "runtime/scratch.h"
#include "runtime/threads.h"

namespace mmrec::ops {

namespace {

/// Rows whose exponentials exist at the same time, for the embedding's gradient: enough for that to be read and written
/// seldom, few enough for the exponentials (5 MB at V = 5000) to stay in the last-level cache.
constexpr int kBlockRows = 256;

/// Panels of rows [begin, end), one a task: body(panel, begin, end).
template <class Body>
void for_each_panel(int begin, int end, const Body& body) {
  const int panels = (end - begin + kHeadLossPanel - 1) / kHeadLossPanel;
  parallel_for(panels, [&](int panel) {
    const int first = begin + panel * kHeadLossPanel;
    body(panel, first, std::min(first + kHeadLossPanel, end));
  });
}

void check(const char* name, const Tensor& x, const Tensor& embedding, const IntTensor& targets, const Tensor& token_loss, const Tensor& correct) {
  check_shape(name, x, {-1, -1});
  check_shape(name, embedding, {-1, x.size(1)});
  check_shape(name, targets, {x.size(0)});
  check_shape(name, token_loss, {x.size(0)});
  check_shape(name, correct, {x.size(0)});
  check_ids(name, targets, embedding.size(0));
}

}  // namespace

void head_loss(const Tensor& x, const Tensor& embedding, const IntTensor& targets, const Tensor& token_loss, const Tensor& correct) {
  check("head_loss", x, embedding, targets, token_loss, correct);
  static Kernel kernel("head_loss", "loss");
  for_each_panel(0, x.size(0), [&](int, int begin, int end) {
    kernel({.flops = 2.0 * (end - begin) * static_cast<double>(embedding.count()), .sizes = {end - begin, embedding.size(0), embedding.size(1)}},
           x.rows(begin, end), embedding, targets.rows(begin, end), token_loss.rows(begin, end), correct.rows(begin, end));
  });
}

void head_loss_with_gradient(const Tensor& x, const Tensor& embedding, const IntTensor& targets, float gradient_scale, const Tensor& token_loss,
                             const Tensor& correct, const Tensor& dx, const Tensor& dembedding) {
  check("head_loss_with_gradient", x, embedding, targets, token_loss, correct);
  check_shape("head_loss_with_gradient: dx", dx, {x.size(0), x.size(1)});
  check_shape("head_loss_with_gradient: dembedding", dembedding, {embedding.size(0), embedding.size(1)});
  set_zero(dembedding);
  static Kernel rows_kernel("head_loss", "gradient"), embedding_kernel("head_loss", "embedding_gradient");
  const int N = x.size(0), V = embedding.size(0), D = x.size(1), panels = (std::min(N, kBlockRows) + kHeadLossPanel - 1) / kHeadLossPanel;
  const double product_flops = 2.0 * static_cast<double>(embedding.count());
  const Scratch memory((static_cast<size_t>(panels) * V * kHeadLossPanel + kBlockRows) * sizeof(float));
  float* const exponentials = memory.data<float>();
  const Tensor factor(exponentials + static_cast<int64_t>(panels) * V * kHeadLossPanel, {kBlockRows});
  for (int begin = 0; begin < N; begin += kBlockRows) {
    const int end = std::min(begin + kBlockRows, N);
    const Tensor e(exponentials, {(end - begin + kHeadLossPanel - 1) / kHeadLossPanel, V, kHeadLossPanel});
    for_each_panel(begin, end, [&](int panel, int first, int last) {
      rows_kernel({.flops = 2 * (last - first) * product_flops, .sizes = {last - first, V, D}}, x.rows(first, last), embedding,
                  targets.rows(first, last), gradient_scale, token_loss.rows(first, last), correct.rows(first, last), e.at(panel),
                  factor.rows(first - begin, last - begin), dx.rows(first, last));
    });
    embedding_kernel({.flops = (end - begin) * product_flops, .sizes = {end - begin, V, D}}, x.rows(begin, end), targets.rows(begin, end),
                     gradient_scale, e, factor.rows(0, end - begin), dembedding, dembedding);
  }
}

}  // namespace mmrec::ops
