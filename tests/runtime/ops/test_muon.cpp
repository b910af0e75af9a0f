#include "runtime/ops/muon.h"

#include "bench/reference/muon.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

/// Compares with the plain iteration in double precision. The iteration amplifies rounding errors,
/// so the tolerance is not derived: 3e-5 of X's largest possible element.
void check_muon(int m, int n, const ops::Muon& settings) {
  SCOPED_TRACE(fmt::format("{} x {}", m, n));
  Random random;
  const GuardedTensor gradient = random.input({m, n}), weight_before = random.input({m, n}),
                      moment_before = random.input({m, n}, -0.1f, 0.1f);
  const reference::MuonState want =
      reference::muon(settings, gradient, {weight_before, moment_before});
  const GuardedTensor weight = inout(weight_before), moment = inout(moment_before);
  ops::muon(settings, gradient, weight, moment);
  expect_close("moment", moment, want.moment);
  const double tolerance = 3e-5 * settings.learning_rate * 0.2 * std::sqrt(std::max(m, n)) + 3e-7;
  const Tensor result = weight;
  for (int64_t i = 0; i < result.count(); ++i)
    ASSERT_NEAR(result.data()[i], want.weight[i].value, tolerance) << "at " << i;
}

TEST(Muon, AgreesWithThePlainIteration) {
  for (const auto& [m, n] : {std::pair(1, 1), std::pair(1, 7), std::pair(5, 1), std::pair(8, 8),
                             std::pair(32, 128), std::pair(128, 32), std::pair(33, 65),
                             std::pair(65, 33), std::pair(96, 96), std::pair(40, 130)})
    check_muon(m, n, {});
}

TEST(Muon, EverySettingHasAnEffect) {
  check_muon(20, 40,
             {.learning_rate = 0.1f, .momentum = 0.8f, .decay = 0.5f, .gradient_scale = 0.25f});
}

// The rows of a part of a wider matrix are a stride apart, and what is beside it stays.
TEST(Muon, PartOfAMatrix) {
  Random random;
  const GuardedTensor gradient = random.input({24, 60}), before = random.input({24, 60}),
                      weight = inout(before), moment = output({24, 60});
  set_zero(moment);
  const Tensor g = gradient, w = weight, m = moment, old = before;
  ops::muon({}, g.columns(30, 60), w.columns(30, 60), m.columns(30, 60));
  const reference::MuonState want =
      reference::muon({}, g.columns(30, 60), {old.columns(30, 60), reference::Array{24, 30}});
  for (int i = 0; i < 24; ++i)
    for (int j = 0; j < 60; ++j) {
      const float now = w.at(i).data()[j], was = old.at(i).data()[j];
      if (j < 30)
        ASSERT_EQ(now, was);
      else
        ASSERT_NEAR(now, want.weight(i, j - 30).value, 1e-6);
    }
}

// Nothing is known of a direction: the weight only decays.
TEST(Muon, ZeroGradient) {
  Random random;
  const GuardedTensor before = random.input({16, 40}), weight = inout(before),
                      zero = output({16, 40}), moment = output({16, 40});
  set_zero(zero);
  set_zero(moment);
  ops::muon({.learning_rate = 0.1f, .decay = 0.5f}, zero, weight, moment);
  const Tensor w = weight, old = before;
  for (int i = 0; i < w.count(); ++i) ASSERT_FLOAT_EQ(w.data()[i], 0.95f * old.data()[i]);
}

TEST(Muon, SameBitsForAnyThreads) {
  Random random;
  const GuardedTensor gradient = random.input({256, 200}), before = random.input({256, 200}),
                      moment_before = random.input({256, 200});
  expect_same_bits_for_any_threads([&]() -> Bits {
    const GuardedTensor weight = inout(before), moment = inout(moment_before);
    ops::muon({}, gradient, weight, moment);
    return {weight.bits(), moment.bits()};
  });
}

TEST(Muon, WrongShapes) {
  const GuardedTensor x = output({6, 4}), wrong = output({5, 4});
  expect_error([&] { ops::muon({}, wrong, x, x); }, {"muon"});
  expect_error([&] { ops::muon({}, x, wrong, x); }, {"muon"});
  expect_error([&] { ops::muon({}, x, x, wrong); }, {"muon"});
}

}  // namespace
}  // namespace mmrec
