#include "runtime/ops/recurrence.h"

#include "bench/reference/recurrence.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

struct Size {
  int steps, batch, dim;
};

/// Random inputs of a given size, and the packed weights.
struct Problem {
  /// gamma is drawn from [least, least + 0.8).
  Problem(const Size& size, RowLayout layout, float least = 0.1f)
      : Problem(Random(), std::vector{size.steps, size.batch, size.dim}, size.dim,
                1 / std::sqrt(static_cast<float>(size.dim)), layout, least) {}

  reference::RecurrenceInputs arrays() const {
    return {core_gate, mdi_gate, core_bias, mdi_input, z, gamma, gm, state_in};
  }
  ops::RecurrenceWeights packed() const { return {packed_forward, packed_backward}; }

  GuardedTensor core_gate, mdi_gate, core_bias, mdi_input, z, gamma, gm, state_in, dstate,
      packed_forward, packed_backward;

 private:
  Problem(Random random, const std::vector<int>& shape, int dim, float weight, RowLayout layout,
          float least)
      : core_gate(random.input({dim, dim}, -weight, weight)),
        mdi_gate(random.input({dim, dim}, -weight, weight, layout)),
        core_bias(random.input({dim})),
        mdi_input(random.input(shape, layout)),
        z(random.input(shape, layout)),
        gamma(random.input(shape, least, least + 0.8f, layout)),
        gm(random.input(shape, 0.1f, 0.9f, layout)),
        state_in(random.input({shape[1], dim})),
        dstate(random.input(shape, layout)),
        packed_forward(output({ops::recurrence_panels(dim), dim, 2, kRecurrencePanel})),
        packed_backward(output({ops::recurrence_panels(dim), dim, 2, kRecurrencePanel})) {
    ops::recurrence_pack(core_gate, mdi_gate, packed());
    packed_forward.freeze();
    packed_backward.freeze();
  }
};

/// Returns a state tensor [T+1][B][D] in which only state[0] is set.
GuardedTensor state_from(const GuardedTensor& state_in, const Size& size, RowLayout layout) {
  GuardedTensor state = output({size.steps + 1, size.batch, size.dim}, layout);
  for (int64_t i = 0; i < state_in.view().count(); ++i) state[i] = state_in[i];
  return state;
}

void check_recurrence(const Size& size, RowLayout layout, bool by_differences) {
  const int steps = size.steps, batch = size.batch, dim = size.dim;
  const std::vector<int> shape = {steps, batch, dim}, gates_shape = {steps, batch, 2 * dim};
  const Problem problem(size, layout);
  reference::RecurrenceInputs in = problem.arrays();
  const reference::Recurrence want = reference::recurrence_forward(in);
  reference::RecurrenceGradient gradient = reference::recurrence_backward(problem.dstate, in);
  if (by_differences) {
    const Array dstate = problem.dstate;
    const auto loss = [&] {
      const Array state = reference::recurrence_forward(in).state;
      double sum = 0;  // only states 1 .. T are results; state[0] is an input
      for (size_t i = 0; i < dstate.count(); ++i)
        sum += dstate[i].value * state[state.count() - dstate.count() + i].value;
      return sum;
    };
    gradient.dz = proven("z", gradient.dz, reference::numeric_gradient(in.z, loss));
    gradient.dgamma = proven("gamma", gradient.dgamma, reference::numeric_gradient(in.gamma, loss));
    gradient.dstate_in =
        proven("state_in", gradient.dstate_in, reference::numeric_gradient(in.state_in, loss));
    proven("gm", map(gradient.dgamma, [](Real d) { return reference::kMdiShare * d; }),
           reference::numeric_gradient(in.gm, loss));
    // dpre is checked indirectly: its g half is the gradient of mdi_input, and the gradients of
    // weights and bias are sums over it.
    Array dmdi_input(shape), dcore_bias({dim}), dcore_gate({dim, dim}), dmdi_gate({dim, dim});
    for (int t = 0; t < steps; ++t)
      for (int b = 0; b < batch; ++b)
        for (int d = 0; d < dim; ++d) {
          dmdi_input(t, b, d) = gradient.dpre(t, b, dim + d);
          dcore_bias(d) += gradient.dpre(t, b, d);
          for (int i = 0; i < dim; ++i) {
            dcore_gate(d, i) += gradient.dpre(t, b, d) * want.state(t, b, i);
            dmdi_gate(d, i) += gradient.dpre(t, b, dim + d) * want.state(t, b, i);
          }
        }
    proven("mdi_input", dmdi_input, reference::numeric_gradient(in.mdi_input, loss));
    proven("core_bias", dcore_bias, reference::numeric_gradient(in.core_bias, loss));
    proven("core_gate", dcore_gate, reference::numeric_gradient(in.core_gate, loss));
    proven("mdi_gate", dmdi_gate, reference::numeric_gradient(in.mdi_gate, loss));
  }

  for_each_variant("recurrence", "forward", [&] {
    const GuardedTensor state = state_from(problem.state_in, size, layout),
                        gates = output(gates_shape, layout);
    ops::recurrence_forward(problem.packed(), problem.core_bias, problem.mdi_input, problem.z,
                            problem.gamma, problem.gm, state, gates);
    expect_close("state", state, want.state);
    expect_close("gates", gates, want.gates);
  });
  const GuardedTensor saved_state = input(want.state, layout),
                      saved_gates = input(want.gates, layout);
  for_each_variant("recurrence", "backward", [&] {
    const GuardedTensor dpre = output(gates_shape, layout), dz = output(shape, layout),
                        dgamma = output(shape, layout);
    const GuardedTensor dstate_in = output({batch, dim});
    ops::recurrence_backward(problem.packed(), problem.dstate, saved_gates, problem.z,
                             problem.gamma, problem.gm, saved_state, dpre, dz, dgamma, dstate_in);
    expect_close("dpre", dpre, gradient.dpre);
    expect_close("dz", dz, gradient.dz);
    expect_close("dgamma", dgamma, gradient.dgamma);
    expect_close("dstate_in", dstate_in, gradient.dstate_in);
  });
}

// Without DPG, gamma and gm are the same tensor. Here they differ.
TEST(Recurrence, GammaDiffersFromGm) {
  for (RowLayout layout : {kDense, kStrided})
    for (const Size& size : {Size{5, 1, 17}, Size{5, 2, 65}, Size{5, 7, 48}, Size{7, 3, 200}})
      check_recurrence(size, layout, false);
}

TEST(Recurrence, BackwardIsTheGradientOfForward) {
  for (const Size& size : std::vector<Size>{{1, 1, 1}, {4, 2, 3}, {3, 1, 6}})
    check_recurrence(size, kDense, true);
}

// Computing a sequence in two pieces, with the state passed on, gives the same bits as computing it
// in one.
TEST(Recurrence, StateIsPassedOn) {
  const Size whole{6, 2, 17};
  const Problem problem(whole, kDense);
  for_each_variant("recurrence", "forward", [&] {
    const auto run = [&](const GuardedTensor& state, const GuardedTensor& gates, int begin,
                         int end) {
      ops::recurrence_forward(
          problem.packed(), problem.core_bias, problem.mdi_input.view().rows(begin, end),
          problem.z.view().rows(begin, end), problem.gamma.view().rows(begin, end),
          problem.gm.view().rows(begin, end), state.view().rows(begin, end + 1),
          gates.view().rows(begin, end));
    };
    const GuardedTensor once = state_from(problem.state_in, whole, kDense),
                        pieces = state_from(problem.state_in, whole, kDense);
    const GuardedTensor gates = output({6, 2, 34});
    run(once, gates, 0, 6);
    run(pieces, gates, 0, 2);
    run(pieces, gates, 2, 6);
    EXPECT_TRUE(once.bits() == pieces.bits()) << current_variant_string();
  });
}

/// The results of both passes of a single sequence in a number of pieces.
struct InPieces {
  InPieces(const Problem& problem, const Size& size, int pieces, RowLayout layout = kDense)
      : state(state_from(problem.state_in, size, layout)),
        gates(output({size.steps, 1, 2 * size.dim}, layout)),
        dpre(output({size.steps, 1, 2 * size.dim}, layout)),
        dz(output({size.steps, 1, size.dim}, layout)),
        dgamma(output({size.steps, 1, size.dim}, layout)),
        dstate_in(output({1, size.dim})) {
    forward_steps = ops::recurrence_forward_in_pieces(pieces, problem.packed(), problem.core_bias,
                                                      problem.mdi_input, problem.z, problem.gamma,
                                                      problem.gm, state, gates);
    backward_steps = ops::recurrence_backward_in_pieces(pieces, problem.packed(), problem.dstate,
                                                        gates, problem.z, problem.gamma, problem.gm,
                                                        state, dpre, dz, dgamma, dstate_in);
  }
  std::vector<const GuardedTensor*> all() const {
    return {&state, &gates, &dpre, &dz, &dgamma, &dstate_in};
  }
  Bits bits() const {
    Bits bits;
    for (const GuardedTensor* tensor : all()) bits.push_back(tensor->bits());
    return bits;
  }

  GuardedTensor state, gates, dpre, dz, dgamma, dstate_in;
  int forward_steps, backward_steps;
};

/// Returns the largest difference of any result, relative to that result's largest element.
double largest_difference(const InPieces& got, const InPieces& want) {
  double worst = 0;
  for (size_t i = 0; i < want.all().size(); ++i) {
    double difference = 0, largest = 0;
    for (int64_t at = 0; at < want.all()[i]->view().count(); ++at) {
      const float value = (*want.all()[i])[at];
      difference = std::max<double>(difference, std::abs((*got.all()[i])[at] - value));
      largest = std::max<double>(largest, std::abs(value));
    }
    worst = std::max(worst, difference / largest);
  }
  return worst;
}

// 1023 steps: neither the pieces nor their blocks have equal lengths.
TEST(Recurrence, PiecesGiveTheResultOfTheSequence) {
  for (RowLayout layout : {kDense, kStrided})
    // The wider one forgets within a block, the other one takes several.
    for (const auto& [dim, least] : {std::pair{65, 0.1f}, {17, 0.35f}}) {
      const Size size{1023, 1, dim};
      const Problem problem(size, layout, least);
      const InPieces want(problem, size, 1, layout);
      EXPECT_EQ(want.forward_steps, 0);
      for (const int pieces : {2, 3, 4}) {
        const InPieces got(problem, size, pieces, layout);
        EXPECT_LE(largest_difference(got, want), 1e-6) << dim << ", " << pieces << " pieces";
        // The second pass was needed, and came to an end before the pieces did.
        for (const int steps : {got.forward_steps, got.backward_steps}) {
          EXPECT_GT(steps, 0);
          EXPECT_LT(steps, size.steps / pieces);
        }
      }
      expect_same_bits_for_any_threads([&] { return InPieces(problem, size, 4, layout).bits(); });
    }
}

TEST(Recurrence, PiecesThatDoNotForgetAreComputedInSequence) {
  const Size size{1023, 1, 17};
  for (const float least : {0.5f, 1.6f}) {  // the state grows; it leaves the range of floats
    const Problem problem(size, kDense, least);
    const InPieces got(problem, size, 4), want(problem, size, 1);
    EXPECT_EQ(got.forward_steps, size.steps);
    EXPECT_EQ(got.backward_steps, size.steps);
    EXPECT_TRUE(got.bits() == want.bits());
  }
}

TEST(Recurrence, OnlyLongSingleSequencesAreCut) {
  EXPECT_EQ(ops::recurrence_pieces(2047, 1), 1);
  EXPECT_EQ(ops::recurrence_pieces(2048, 1), 4);
  EXPECT_EQ(ops::recurrence_pieces(8192, 1), 8);
  EXPECT_EQ(ops::recurrence_pieces(65536, 1), 16);
  EXPECT_EQ(ops::recurrence_pieces(65536, 2), 1);

  const Size size{2048, 1, 17};
  const Problem problem(size, kDense);
  const InPieces want(problem, size, 4);
  const GuardedTensor state = state_from(problem.state_in, size, kDense),
                      gates = output({2048, 1, 34}), dpre = output({2048, 1, 34}),
                      dz = output({2048, 1, 17}), dgamma = output({2048, 1, 17}),
                      dstate_in = output({1, 17});
  ops::recurrence_forward(problem.packed(), problem.core_bias, problem.mdi_input, problem.z,
                          problem.gamma, problem.gm, state, gates);
  ops::recurrence_backward(problem.packed(), problem.dstate, gates, problem.z, problem.gamma,
                           problem.gm, state, dpre, dz, dgamma, dstate_in);
  EXPECT_TRUE((Bits{state.bits(), gates.bits(), dpre.bits(), dz.bits(), dgamma.bits(),
                    dstate_in.bits()}) == want.bits());
}

TEST(Recurrence, WrongPieces) {
  const Size pair{256, 2, 5}, single{256, 1, 5};
  const Problem two(pair, kDense), one(single, kDense);
  const GuardedTensor state = output({257, 2, 5}), gates = output({256, 2, 10});
  expect_error(
      [&] {
        ops::recurrence_forward_in_pieces(2, two.packed(), two.core_bias, two.mdi_input, two.z,
                                          two.gamma, two.gm, state, gates);
      },
      {"only a single sequence", "not 2"});
  for (const int pieces : {0, 3})
    expect_error([&] { InPieces(one, single, pieces); }, {"256 steps", "128"});
}

TEST(Recurrence, WrongShapes) {
  const Problem problem({3, 2, 5}, kDense);
  const GuardedTensor state = output({4, 2, 5}), gates = output({3, 2, 10}),
                      wrong = output({3, 2, 4}), state_in = output({2, 5});
  const auto forward = [&](const Tensor& z, const Tensor& all_states, const Tensor& all_gates) {
    ops::recurrence_forward(problem.packed(), problem.core_bias, problem.mdi_input, z,
                            problem.gamma, problem.gm, all_states, all_gates);
  };
  const auto backward = [&](const Tensor& dstate, const Tensor& dstate_in) {
    ops::recurrence_backward(problem.packed(), dstate, gates, problem.z, problem.gamma, problem.gm,
                             state, gates, problem.z, problem.z, dstate_in);
  };
  expect_error([&] { forward(wrong, state, gates); }, {"recurrence"});
  // one state is missing
  expect_error([&] { forward(problem.z, problem.z, gates); }, {"recurrence"});
  expect_error([&] { forward(problem.z, state, problem.z); }, {"recurrence"});
  expect_error([&] { backward(wrong, state_in); }, {"recurrence"});
  expect_error([&] { backward(problem.dstate, problem.core_bias); }, {"recurrence"});
  expect_error([&] { ops::recurrence_pack(problem.core_gate, state_in, problem.packed()); },
               {"recurrence"});
}

}  // namespace
}  // namespace mmrec
