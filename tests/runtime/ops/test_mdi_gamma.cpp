#include "runtime/ops/mdi_gamma.h"

#include "bench/reference/mdi_gamma.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

struct Size {
  int rows, dim, hidden;
};

const std::pair<const char*, Array reference::MdiGammaWeights::*> kWeights[] = {
    {"gamma_in", &reference::MdiGammaWeights::gamma_in},
    {"gamma_in_bias", &reference::MdiGammaWeights::gamma_in_bias},
    {"gamma_out", &reference::MdiGammaWeights::gamma_out},
    {"gamma_out_bias", &reference::MdiGammaWeights::gamma_out_bias},
    {"context_in", &reference::MdiGammaWeights::context_in},
    {"context_in_bias", &reference::MdiGammaWeights::context_in_bias},
    {"context_out", &reference::MdiGammaWeights::context_out},
    {"context_out_bias", &reference::MdiGammaWeights::context_out_bias},
};

std::vector<std::vector<int>> weight_shapes(const Size& size) {
  const int dim = size.dim, hidden = size.hidden;
  return {{hidden, dim}, {hidden}, {dim, hidden}, {dim},
          {hidden, dim}, {hidden}, {dim, hidden}, {dim}};
}

/// Converts the eight tensors, in the order of kWeights, to the structure of the kernels or the
/// references.
template <class Weights>
Weights weights_of(const std::vector<GuardedTensor>& w) {
  return {w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]};
}

struct Outputs {
  explicit Outputs(const Size& size)
      : gamma_hidden({size.rows, size.hidden}),
        context_hidden({size.rows, size.hidden}),
        gamma_sigmoid({size.rows, size.dim}),
        context_sigmoid({size.rows, size.dim}),
        gm({size.rows, size.dim}) {}
  ops::MdiGammaSaved saved() const {
    return {gamma_hidden, context_hidden, gamma_sigmoid, context_sigmoid};
  }
  GuardedTensor gamma_hidden, context_hidden, gamma_sigmoid, context_sigmoid, gm;
};

struct Options {
  bool aliased = false, by_differences = false;
  /// Moves one third of the columns to the lower limit and one third to the upper limit.
  bool clamped = false;
  RowLayout layout = kDense;
};

void check_mdi_gamma(const Size& size, const Options& options) {
  Random random;
  const int rows = size.rows, dim = size.dim;
  const std::vector<int> shape = {rows, dim};
  constexpr float kScale = 0.7f;
  const GuardedTensor z = random.input(shape, options.layout),
                      k = random.input(shape, options.layout);
  const GuardedTensor dgm = random.input(shape), dz_residual = random.input(shape, options.layout);
  Array clamping_bias({dim});
  for (int d = 0; d < dim; ++d) clamping_bias(d) = std::array{0., -12., 22.}[d % 3];
  std::vector<GuardedTensor> weights;
  for (const std::vector<int>& weight_shape : weight_shapes(size)) {
    const bool output_bias = weights.size() % 4 == 3;
    weights.push_back(options.clamped && output_bias ? input(clamping_bias)
                                                     : random.input(weight_shape, -0.5f, 0.5f));
  }
  reference::MdiGammaWeights w = weights_of<reference::MdiGammaWeights>(weights);
  const reference::MdiGamma want = reference::mdi_gamma_forward(z, k, w);
  reference::MdiGammaGradient gradient =
      reference::mdi_gamma_backward(dgm, kScale, dz_residual, z, k, w);
  if (options.by_differences) {
    Array at_z = z, at_k = k;
    const auto loss = [&] {
      return dot(dz_residual, at_z) +
             kScale * dot(dgm, reference::mdi_gamma_forward(at_z, at_k, w).gm);
    };
    gradient.dz = proven("z", gradient.dz, reference::numeric_gradient(at_z, loss));
    gradient.dk = proven("k", gradient.dk, reference::numeric_gradient(at_k, loss));
    for (auto [name, member] : kWeights)
      gradient.weights.*member =
          proven(name, gradient.weights.*member, numeric_gradient(w.*member, loss));
  }

  for_each_variant("mdi_gamma", "forward", [&] {
    const Outputs out(size);
    ops::mdi_gamma_forward(z, k, weights_of<ops::MdiGammaWeights>(weights), out.saved(), out.gm);
    expect_close("gamma_hidden", out.gamma_hidden, want.gamma_hidden);
    expect_close("context_hidden", out.context_hidden, want.context_hidden);
    expect_close("gamma_sigmoid", out.gamma_sigmoid, want.gamma_sigmoid);
    expect_close("context_sigmoid", out.context_sigmoid, want.context_sigmoid);
    expect_close("gm", out.gm, want.gm);
  });

  const GuardedTensor gamma_hidden = input(want.gamma_hidden),
                      context_hidden = input(want.context_hidden);
  const GuardedTensor gamma_sigmoid = input(want.gamma_sigmoid),
                      context_sigmoid = input(want.context_sigmoid);
  for_each_variant("mdi_gamma", "backward", [&] {
    const GuardedTensor dz =
        options.aliased ? inout(dz_residual, options.layout) : output(shape, options.layout);
    const GuardedTensor dk = output(shape, options.layout);
    std::vector<GuardedTensor> gradients;
    for (const std::vector<int>& weight_shape : weight_shapes(size))
      gradients.push_back(added_to(weight_shape));
    ops::mdi_gamma_backward(dgm, kScale, options.aliased ? dz : dz_residual, z, k,
                            weights_of<ops::MdiGammaWeights>(weights),
                            {gamma_hidden, context_hidden, gamma_sigmoid, context_sigmoid}, dz, dk,
                            weights_of<ops::MdiGammaWeights>(gradients));
    expect_close("dz", dz, gradient.dz);
    expect_close("dk", dk, gradient.dk);
    for (size_t i = 0; i < std::size(kWeights); ++i)
      expect_added(kWeights[i].first, gradients[i], gradient.weights.*kWeights[i].second);
  });
}

TEST(MdiGamma, ResidualMayBeDz) {
  for (RowLayout layout : {kDense, kStrided})
    for (const Size& size : {Size{13, 17, 5}, Size{29, 128, 32}})
      check_mdi_gamma(size, {.aliased = true, .layout = layout});
}

TEST(MdiGamma, BackwardIsTheGradientOfForward) {
  for (const Size& size : std::vector<Size>{{1, 1, 1}, {3, 5, 2}, {2, 17, 4}})
    check_mdi_gamma(size, {.by_differences = true});
}

TEST(MdiGamma, AtTheClamp) {
  check_mdi_gamma({7, 33, 8}, {.clamped = true});
  check_mdi_gamma({2, 6, 3}, {.by_differences = true, .clamped = true});
}

TEST(MdiGamma, WrongShapes) {
  const Size size{4, 8, 2};
  std::vector<GuardedTensor> weights;
  for (const std::vector<int>& shape : weight_shapes(size)) weights.push_back(output(shape));
  const auto w = weights_of<ops::MdiGammaWeights>(weights);
  const GuardedTensor z = output({4, 8}), wrong = output({4, 7});
  const Outputs out(size);
  expect_error([&] { ops::mdi_gamma_forward(z, wrong, w, out.saved(), out.gm); }, {"mdi_gamma"});
  expect_error([&] { ops::mdi_gamma_forward(z, z, w, out.saved(), wrong); }, {"mdi_gamma"});
  expect_error([&] { ops::mdi_gamma_backward(z, 1, wrong, z, z, w, out.saved(), z, z, w); },
               {"mdi_gamma"});
  auto swapped = w;
  std::swap(swapped.gamma_in, swapped.gamma_out);
  expect_error([&] { ops::mdi_gamma_forward(z, z, swapped, out.saved(), out.gm); }, {"mdi_gamma"});
  expect_error([&] { ops::mdi_gamma_backward(z, 1, z, z, z, w, out.saved(), z, z, swapped); },
               {"mdi_gamma"});
}

}  // namespace
}  // namespace mmrec
