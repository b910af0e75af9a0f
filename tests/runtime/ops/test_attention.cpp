#include "runtime/ops/attention.h"

#include "bench/reference/attention.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

struct Size {
  int rows, heads, width, slots;  // width: columns per head
};

/// Scores have magnitudes up to about q_size * width^0.5 / 3.
void check_attention(const Size& size, float q_size, bool by_differences) {
  Random random;
  const int rows = size.rows, heads = size.heads, width = size.width, slots = size.slots;
  const std::vector<int> shape = {rows, heads * width}, memory = {slots, heads * width};
  const GuardedTensor q = random.input(shape, -q_size, q_size), keys = random.input(memory),
                      values = random.input(memory);
  const GuardedTensor dcontext = random.input(shape);
  const reference::Attention want = reference::attention_forward(q, keys, values, heads);
  reference::AttentionGradients want_gradients =
      reference::attention_backward(dcontext, q, keys, values, heads);
  if (by_differences) {
    Array at_q = q, k = keys, v = values;
    const Array d = dcontext;
    const auto loss = [&] {
      return dot(d, reference::attention_forward(at_q, k, v, heads).context);
    };
    want_gradients.q = proven("q", want_gradients.q, reference::numeric_gradient(at_q, loss));
    want_gradients.keys = proven("keys", want_gradients.keys, reference::numeric_gradient(k, loss));
    want_gradients.values =
        proven("values", want_gradients.values, reference::numeric_gradient(v, loss));
  }
  for_each_variant("attention", "forward", [&] {
    const GuardedTensor p = output(want.p.shape()), context = output(shape);
    ops::attention_forward(q, keys, values, p, context);
    expect_close("p", p, want.p);
    expect_close("context", context, want.context);
  });
  const GuardedTensor saved_p = input(want.p);
  for_each_variant("attention", "backward", [&] {
    const GuardedTensor dscores = output({heads, rows, slots}), dq = output(shape),
                        dkeys = added_to(memory), dvalues = added_to(memory);
    ops::attention_backward(dcontext, keys, values, saved_p, dscores, dq);
    ops::attention_backward_memory(dcontext, q, saved_p, dscores, dkeys, dvalues);
    expect_close("dq", dq, want_gradients.q);
    // otherwise the gradient is 0, and only rounding would be compared
    if (slots > 1) expect_added("dkeys", dkeys, want_gradients.keys);
    expect_added("dvalues", dvalues, want_gradients.values);
  });
}

TEST(Attention, GradientsOfALearnedMemory) {
  for (auto [heads, width] : {std::pair{1, 1}, {3, 5}, {4, 32}})
    for (int slots : {1, 17, 64}) check_attention({33, heads, width, slots}, 1, false);
}

TEST(Attention, BackwardIsTheGradientOfForward) {
  for (const Size& size : std::vector<Size>{{1, 1, 1, 2}, {3, 2, 4, 5}, {2, 1, 17, 9}})
    check_attention(size, 2, true);
}

// Scores of +-100 and more: exp overflows unless the row's maximum is subtracted first.
TEST(Attention, LargeScores) { check_attention({9, 2, 16, 64}, 100, false); }

TEST(Attention, WrongShapes) {
  const GuardedTensor q = output({4, 6}), memory = output({8, 6}), p = output({4, 2, 8}),
                      wrong = output({8, 5}), odd_heads = output({4, 4, 8});
  expect_error([&] { ops::attention_forward(q, wrong, memory, p, q); }, {"attention"});
  expect_error([&] { ops::attention_forward(q, memory, wrong, p, q); }, {"attention"});
  expect_error([&] { ops::attention_forward(q, memory, memory, odd_heads, q); }, {"attention"});
  const GuardedTensor dscores = output({2, 4, 8});
  expect_error([&] { ops::attention_backward(q, memory, memory, p, dscores, memory); },
               {"attention"});
  expect_error([&] { ops::attention_backward(q, memory, memory, p, p, q); },
               {"attention", "dscores"});
  expect_error([&] { ops::attention_backward_memory(q, q, p, dscores, memory, wrong); },
               {"attention", "dvalues"});
  expect_error(
      [&] { ops::attention_backward_memory(q, q, odd_heads, output({4, 4, 8}), memory, memory); },
      {"attention", "6 columns"});
}

}  // namespace
}  // namespace mmrec
