#include "model/blocks/mingru_block.h"

#include <cmath>

#include "bench/reference/mingru.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

using reference::MingruGradient;
using reference::MingruWeights;

/// A parameter's name and its place in the reference.
struct Named {
  const char* name;
  Array& (*of)(MingruWeights&);
};
constexpr Named kWeights[] = {
    {"norm1.weight", [](MingruWeights& w) -> Array& { return w.norm1; }},
    {"W_zh.weight", [](MingruWeights& w) -> Array& { return w.projection; }},
    {"W_zh.bias", [](MingruWeights& w) -> Array& { return w.projection_bias; }},
    {"W_o.weight", [](MingruWeights& w) -> Array& { return w.output; }},
    {"W_o.bias", [](MingruWeights& w) -> Array& { return w.output_bias; }},
    {"norm2.weight", [](MingruWeights& w) -> Array& { return w.ffn.norm; }},
    {"ffn.0.weight", [](MingruWeights& w) -> Array& { return w.ffn.in; }},
    {"ffn.0.bias", [](MingruWeights& w) -> Array& { return w.ffn.in_bias; }},
    {"ffn.3.weight", [](MingruWeights& w) -> Array& { return w.ffn.out; }},
    {"ffn.3.bias", [](MingruWeights& w) -> Array& { return w.ffn.out_bias; }}};

/// A block with weights, a state, input rows and a gradient of its output.
struct Setting {
  Setting(int T, int B, int D, float p)
      : T(T), B(B), D(D), config(config_of(D)), parameters(config), block(config, T, B) {
    current_variant = {"mingru", fmt::format("{} x {} x {}", T, B, D), "block"};
    dropout = {{p, {1, 2}}, {p, {3, 4}}, {p, {5, 6}}};
    for (const Parameter& parameter : parameters.table())
      for (int64_t i = 0; i < parameter.count; ++i)
        parameters.weight(parameter.name).data()[i] = random.uniform(-0.5f, 0.5f);
    block.bind(ParameterScope(parameters, parameters.weights(), "blocks.0."),
               ParameterScope(parameters, parameters.gradients(), "blocks.0."));
    arena = Arena::fitted([&](Arena& fitted) {
      block.lay_out_saved(fitted, Precision::kFloat32);
      block.lay_out_scratch(fitted, true);
    });
  }

  static Config config_of(int D) {
    return {.arch = "mingru", .vocab_size = 2, .dim = D, .layers = 1};
  }

  reference::MingruInputs inputs() const {
    reference::MingruInputs in{
        x, state_in, {}, dropout.mixer, dropout.ffn_hidden, dropout.ffn_output};
    for (const Named& weight : kWeights)
      weight.of(in.weights) = Array(parameters.weight(std::string("blocks.0.") + weight.name));
    return in;
  }

  int T, B, D;
  Random random;
  Config config;
  Parameters parameters;
  MingruBlock block;
  Arena arena;
  BlockDropout dropout;
  GuardedTensor x = random.input({T * B, D}), state_in = random.input({B, D}),
                dy = random.input({T * B, D});
};

/// Expects every element to be within `part` of the largest, as in the golden test: over a whole
/// block the references' error bounds become too wide to prove anything.
void expect_golden(const std::string& name, const Tensor& got, const Array& want, double part) {
  double largest = 0, off = 0;
  for (size_t i = 0; i < want.count(); ++i) {
    largest = std::max(largest, std::abs(want[i].value));
    const double difference = std::abs(reference::element(got, i) - want[i].value);
    if (!(difference <= off)) off = difference;  // a non-finite value is kept
  }
  EXPECT_LE(off, part * largest) << current_variant_string() << ", " << name;
}

void check(int T, int B, int D, float p, bool by_differences) {
  Setting s(T, B, D, p);
  reference::MingruInputs in = s.inputs();
  const reference::Mingru want = reference::mingru_forward(in);
  MingruGradient gradient = reference::mingru_backward(s.dy, in);
  if (by_differences) {
    const Array dy = s.dy;
    const auto loss = [&] { return dot(dy, reference::mingru_forward(in).y); };
    gradient.dx = proven("x", gradient.dx, reference::numeric_gradient(in.x, loss));
    for (const Named& weight : kWeights)
      weight.of(gradient.weights) =
          proven(weight.name, weight.of(gradient.weights),
                 reference::numeric_gradient(weight.of(in.weights), loss));
  }

  const GuardedTensor state = inout(s.state_in), y = output({T * B, D}), dx = output({T * B, D});
  s.block.forward(s.x, state, s.dropout, y);
  expect_golden("y", y, want.y, 1e-5);
  Array last({B, D});
  for (int b = 0; b < B; ++b)
    for (int d = 0; d < D; ++d) last(b, d) = want.h((T - 1) * B + b, d);
  expect_golden("state", state, last, 1e-5);

  s.block.backward(s.dy, s.x, s.dropout, 1.f, dx);
  expect_golden("dx", dx, gradient.dx, 5e-5);
  for (const Named& weight : kWeights)
    expect_golden(weight.name, s.parameters.gradient(std::string("blocks.0.") + weight.name),
                  weight.of(gradient.weights), 5e-5);
}

TEST(Mingru, MatchesTheReference) {
  for (const int T : {1, 2, 7, 40})
    for (const int B : {1, 3, 6})
      for (const int D : {4, 20, 64}) check(T, B, D, B == 3 ? 0.f : 0.3f, false);
}

TEST(Mingru, BackwardIsTheGradientOfForward) {
  check(1, 1, 4, 0, true);
  check(5, 2, 4, 0.3f, true);
}

TEST(Mingru, WholeSequenceEqualsStepByStep) {
  constexpr int T = 200, B = 3, D = 32;
  Setting s(T, B, D, 0);
  MingruBlock step(s.config, 1, B);
  step.bind(ParameterScope(s.parameters, s.parameters.weights(), "blocks.0."),
            ParameterScope(s.parameters, s.parameters.gradients(), "blocks.0."));
  const Arena arena = Arena::fitted([&](Arena& fitted) {
    step.lay_out_saved(fitted, Precision::kFloat32);
    step.lay_out_scratch(fitted, false);
  });
  const GuardedTensor state = inout(s.state_in), step_state = inout(s.state_in),
                      y = output({T * B, D}), step_y = output({T * B, D});
  s.block.forward(s.x, state, {}, y);
  for (int t = 0; t < T; ++t)
    step.forward(s.x.view().rows(t * B, (t + 1) * B), step_state, {},
                 step_y.view().rows(t * B, (t + 1) * B));
  for (int i = 0; i < T * B * D; ++i) ASSERT_NEAR(y[i], step_y[i], 1e-5) << i;
  for (int i = 0; i < B * D; ++i) ASSERT_NEAR(state[i], step_state[i], 1e-5) << i;
}

TEST(Mingru, SameBitsForAnyThreads) {
  Setting s(64, 5, 48, 0.1f);
  expect_same_bits_for_any_threads([&]() -> Bits {
    const GuardedTensor state = inout(s.state_in), y = output({320, 48}), dx = output({320, 48});
    set_zero(s.parameters.gradients());
    s.block.forward(s.x, state, s.dropout, y);
    s.block.backward(s.dy, s.x, s.dropout, 1.f, dx);
    const Tensor gradients = s.parameters.gradients();
    std::vector<uint32_t> bits(gradients.count());
    for (size_t i = 0; i < bits.size(); ++i) bits[i] = std::bit_cast<uint32_t>(gradients.data()[i]);
    return {state.bits(), y.bits(), dx.bits(), bits};
  });
}

}  // namespace
}  // namespace mmrec
