#include "runtime/ops/optimizer.h"

#include "bench/reference/optimizer.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

/// `g_size`: largest magnitude of a gradient. `from_zero`: the moments start at zero, as in a
/// training run.
void check_adamw(int count, const ops::AdamW& settings, float g_size, bool from_zero) {
  Random random;
  const GuardedTensor gradient = random.input({count}, -g_size, g_size),
                      weight = random.input({count});
  const float m_size = from_zero ? 0 : g_size;
  const GuardedTensor m_before = random.input({count}, -m_size, m_size),
                      v_before = random.input({count}, 0, m_size * m_size);
  const reference::AdamWState want =
      reference::adamw(settings, gradient, {weight, m_before, v_before});
  for_each_variant("adamw", "step", [&] {
    const GuardedTensor w = inout(weight), m = inout(m_before), v = inout(v_before);
    ops::adamw(settings, gradient, w, m, v);
    expect_close("w", w, want.weight);
    expect_close("m", m, want.m);
    expect_close("v", v, want.v);
  });
}

TEST(AdamW, EverySettingHasAnEffect) {
  check_adamw(1000, {}, 1, true);
  check_adamw(1000,
              {.learning_rate = 0.1f,
               .beta1 = 0.8f,
               .beta2 = 0.99f,
               .epsilon = 1e-3f,
               .decay = 0.5f,
               .gradient_scale = 0.25f,
               .step = 7},
              3, false);
}

// The bias corrections approach 1 for late steps, and are far from 1 in the first steps of slow
// moments.
TEST(AdamW, FirstAndLateSteps) {
  for (int64_t step :
       {int64_t{1}, int64_t{2}, int64_t{100}, int64_t{1'000'000}, int64_t{5'000'000'000}})
    check_adamw(100, {.learning_rate = 0.1f, .beta1 = 0.99f, .beta2 = 0.9999f, .step = step}, 1,
                false);
}

// Without a gradient the weight only decays. With a tiny gradient the step is as large as with any
// other, until epsilon dominates.
TEST(AdamW, TinyGradients) {
  for (float g_size : {0.f, 1e-8f, 1e-5f})
    check_adamw(100, {.learning_rate = 0.1f, .step = 1}, g_size, true);
}

TEST(AdamW, WrongShapes) {
  const GuardedTensor x = output({6}), wrong = output({5});
  expect_error([&] { ops::adamw({}, wrong, x, x, x); }, {"adamw"});
  expect_error([&] { ops::adamw({}, x, x, wrong, x); }, {"adamw"});
  expect_error([&] { ops::adamw({}, x, x, x, wrong); }, {"adamw"});
}

TEST(MoveAverage, EverySettingHasAnEffect) {
  Random random;
  const GuardedTensor weight = random.input({1000}), before = random.input({1000});
  for (const float share : {0.002f, 0.5f, 1.f}) {
    const reference::Array want = reference::move_average(share, weight, before);
    for_each_variant("moving_average", "step", [&] {
      const GuardedTensor average = inout(before);
      ops::move_average(share, weight, average);
      expect_close("average", average, want);
    });
  }
  const GuardedTensor wrong = output({5});
  expect_error([&] { ops::move_average(1, weight, wrong); }, {"move_average"});
}

TEST(SumOfSquares, SameBitsForAnyThreads) {
  Random random;
  const GuardedTensor x = random.input({200'003});
  for_each_variant("sum_of_squares", "forward", [&] {
    expect_same_bits_for_any_threads([&]() -> Bits {
      const auto words = std::bit_cast<std::array<uint32_t, 2>>(ops::sum_of_squares(x));
      return {{words.begin(), words.end()}};
    });
  });
}

}  // namespace
}  // namespace mmrec
