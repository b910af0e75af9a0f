#include "runtime/ops/ffn.h"

#include "bench/reference/ffn.h"
#include "tests/common/bf16.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

struct Size {
  int rows, dim, hidden;
};

const std::pair<const char*, Array reference::FfnWeights::*> kWeights[] = {
    {"norm", &reference::FfnWeights::norm},
    {"in", &reference::FfnWeights::in},
    {"in_bias", &reference::FfnWeights::in_bias},
    {"out", &reference::FfnWeights::out},
    {"out_bias", &reference::FfnWeights::out_bias}};

std::vector<std::vector<int>> weight_shapes(const Size& size) {
  const int dim = size.dim, hidden = size.hidden;
  return {{dim}, {hidden, dim}, {hidden}, {dim, hidden}, {dim}};
}

/// Converts the five tensors, in the order of kWeights, to the structure of the kernels or the
/// references.
template <class Weights>
Weights weights_of(const std::vector<GuardedTensor>& w) {
  return {w[0], w[1], w[2], w[3], w[4]};
}

std::vector<GuardedTensor> random_weights(Random& random, const Size& size) {
  std::vector<GuardedTensor> weights;
  for (const std::vector<int>& shape : weight_shapes(size))
    weights.push_back(random.input(shape, -0.5f, 0.5f));
  return weights;
}

std::vector<GuardedTensor> weight_outputs(const Size& size) {
  std::vector<GuardedTensor> weights;
  for (const std::vector<int>& shape : weight_shapes(size)) weights.push_back(added_to(shape));
  return weights;
}

void check_ffn(const Size& size, float p, bool by_differences, float r_size = 1) {
  Random random;
  const int rows = size.rows, dim = size.dim, hidden = size.hidden;
  const ops::Dropout mask_hidden{p, {0x1234567u, 0x89abcdefu}},
      mask_out{p, {0xdeadbeefu, 0x2468acefu}};
  const GuardedTensor r = random.input({rows, dim}, -r_size, r_size),
                      dy = random.input({rows, dim});
  const std::vector<GuardedTensor> weights = random_weights(random, size);
  reference::FfnWeights w = weights_of<reference::FfnWeights>(weights);
  const reference::Ffn want = reference::ffn_forward(r, w, mask_hidden, mask_out);
  reference::FfnGradient gradient = reference::ffn_backward(dy, r, w, mask_hidden, mask_out);
  if (by_differences) {
    Array at_r = r;
    const auto loss = [&] {
      return dot(dy, reference::ffn_forward(at_r, w, mask_hidden, mask_out).y);
    };
    gradient.dr = proven("r", gradient.dr, reference::numeric_gradient(at_r, loss));
    for (auto [name, member] : kWeights)
      gradient.weights.*member =
          proven(name, gradient.weights.*member, numeric_gradient(w.*member, loss));
  }

  for_each_variant("ffn", "forward", [&] {
    const GuardedTensor rstd = output({rows}), slope = output({rows, hidden}),
                        activated = output({rows, hidden}), y = output({rows, dim});
    ops::ffn_forward(r, weights_of<ops::FfnWeights>(weights), mask_hidden, mask_out,
                     {rstd, slope, activated}, y);
    expect_close("rstd", rstd, want.rstd);
    expect_close("slope", slope, want.slope);
    expect_close("activated", activated, want.activated);
    expect_close("y", y, want.y);
  });

  const GuardedTensor saved_rstd = input(want.rstd), saved_slope = input(want.slope),
                      saved_activated = input(want.activated);
  for_each_variant("ffn", "backward", [&] {
    const GuardedTensor dr = output({rows, dim});
    const std::vector<GuardedTensor> gradients = weight_outputs(size);
    ops::ffn_backward(dy, r, weights_of<ops::FfnWeights>(weights), mask_out,
                      {saved_rstd, saved_slope, saved_activated}, dr,
                      weights_of<ops::FfnWeights>(gradients));
    expect_close("dr", dr, gradient.dr);
    for (size_t i = 0; i < std::size(kWeights); ++i)
      expect_added(kWeights[i].first, gradients[i], gradient.weights.*kWeights[i].second);
  });
}

TEST(Ffn, EveryProbability) {
  for (float p : {0.f, 0.1f, 0.5f}) check_ffn({13, 17, 31}, p, false);
}

TEST(Ffn, BackwardIsTheGradientOfForward) {
  for (const Size& size : std::vector<Size>{{1, 3, 1}, {3, 5, 7}, {2, 17, 6}})
    check_ffn(size, 0.3f, true);
}

TEST(Ffn, RowsOfZeros) { check_ffn({3, 20, 5}, 0.1f, false, 0); }

TEST(Ffn, SavedTensorsHaveThePrecisionsType) {
  MMREC_NEEDS_BF16();
  const Size size{4, 6, 9};
  const std::vector<GuardedTensor> weights = weight_outputs(size);
  const auto w = weights_of<ops::FfnWeights>(weights);
  const GuardedTensor r = output({4, 6}), rstd = output({4}), floats = output({4, 9});
  std::vector<uint16_t> memory(4 * 9);
  const Bf16Tensor halves(memory.data(), {4, 9});
  const auto forward = [&](const ops::FfnSaved& saved) {
    ops::ffn_forward(r, w, {}, {}, saved, r);
  };
  expect_error([&] { forward({rstd, halves, halves}); }, {"ffn", "of bfloat16", "asks for floats"});
  const ScopedPrecision scoped(Precision::kBf16);
  expect_error([&] { forward({rstd, floats, halves}); }, {"ffn", "of floats", "asks for bfloat16"});
  EXPECT_NO_THROW(forward({rstd, halves, halves}));
}

TEST(Ffn, WrongShapes) {
  const Size size{4, 6, 9};
  const std::vector<GuardedTensor> weights = weight_outputs(size);
  const auto w = weights_of<ops::FfnWeights>(weights);
  const GuardedTensor r = output({4, 6}), rstd = output({4}), hidden = output({4, 9}),
                      wrong = output({5, 6});
  const ops::FfnSaved saved{rstd, hidden, hidden};
  expect_error([&] { ops::ffn_forward(r, w, {}, {}, saved, wrong); }, {"ffn"});
  expect_error([&] { ops::ffn_forward(r, w, {}, {}, {rstd, r, hidden}, r); }, {"ffn"});
  expect_error([&] { ops::ffn_backward(wrong, r, w, {}, saved, r, w); }, {"ffn"});
  auto swapped = w;
  std::swap(swapped.in, swapped.out);
  expect_error([&] { ops::ffn_forward(r, swapped, {}, {}, saved, r); }, {"ffn"});
  expect_error([&] { ops::ffn_backward(r, r, w, {}, saved, r, swapped); }, {"ffn"});
}

}  // namespace
}  // namespace mmrec
