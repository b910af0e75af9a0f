#include "runtime/ops/head_loss.h"

#include <algorithm>

#include "runtime/kernel_registry.h"
#include "runtime/ops/ids.h"

namespace mmrec::ops {

namespace {

/// Rows whose logits exist at the same time: enough for the weights' packing to be cheap, few enough for the logits (5 MB at
/// V = 5000) to stay in the last-level cache.
constexpr int kBlockRows = 256;

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
  for (int begin = 0; begin < x.size(0); begin += kBlockRows) {
    const int end = std::min(begin + kBlockRows, x.size(0));
    kernel({.flops = 2.0 * (end - begin) * static_cast<double>(embedding.count())}, x.rows(begin, end), embedding, targets.rows(begin, end),
           token_loss.rows(begin, end), correct.rows(begin, end));
  }
}

void head_loss_with_gradient(const Tensor& x, const Tensor& embedding, const IntTensor& targets, float gradient_scale, const Tensor& token_loss,
                             const Tensor& correct, const Tensor& dx, const Tensor& dembedding) {
  check("head_loss_with_gradient", x, embedding, targets, token_loss, correct);
  check_shape("head_loss_with_gradient: dx", dx, {x.size(0), x.size(1)});
  check_shape("head_loss_with_gradient: dembedding", dembedding, {embedding.size(0), embedding.size(1)});
  set_zero(dembedding);
  static Kernel kernel("head_loss", "gradient");
  for (int begin = 0; begin < x.size(0); begin += kBlockRows) {
    const int end = std::min(begin + kBlockRows, x.size(0));
    kernel({.flops = 6.0 * (end - begin) * static_cast<double>(embedding.count())}, x.rows(begin, end), embedding, targets.rows(begin, end),
           gradient_scale, dembedding, token_loss.rows(begin, end), correct.rows(begin, end), dx.rows(begin, end), dembedding);
  }
}

}  // namespace mmrec::ops
