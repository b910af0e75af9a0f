#include "runtime/ops/head_loss.h"

#include "tests/common/kernel_test.h"
#include "tests/reference/head_loss.h"

namespace mmrec {
namespace {

struct Size {
  int rows, dim, vocabulary;
};

std::vector<int32_t> values_of(const GuardedIds& ids) {
  std::vector<int32_t> values;
  for (int64_t i = 0; i < ids.view().count(); ++i) values.push_back(ids[i]);
  return values;
}

void check_head_loss(const Size& size, float x_size, bool by_differences) {
  Random random;
  const int rows = size.rows, dim = size.dim, vocabulary = size.vocabulary;
  const float scale = 1.f / static_cast<float>(std::max(rows, 1));
  const GuardedTensor x = random.input({rows, dim}, -x_size, x_size), embedding = random.input({vocabulary, dim});
  const GuardedIds targets = random.ids(rows, vocabulary);
  const std::vector<int32_t> target_values = values_of(targets);
  const reference::HeadLoss want = reference::head_loss(x, embedding, target_values);
  reference::HeadLossGradient gradient = reference::head_loss_backward(x, embedding, target_values, scale);
  if (by_differences) {
    Array at_x = x, at_embedding = embedding;
    const auto loss = [&] {
      double sum = 0;
      const Array token_loss = reference::head_loss(at_x, at_embedding, target_values).token_loss;
      for (size_t i = 0; i < token_loss.count(); ++i) sum += scale * token_loss[i].value;
      return sum;
    };
    gradient.dx = proven("x", gradient.dx, reference::numeric_gradient(at_x, loss));
    gradient.dembedding = proven("embedding", gradient.dembedding, reference::numeric_gradient(at_embedding, loss));
  }
  for_each_variant("head_loss", "loss", [&] {
    const GuardedTensor token_loss = output({rows}), correct = output({rows});
    ops::head_loss(x, embedding, targets, token_loss, correct);
    expect_close("token_loss", token_loss, want.token_loss);
    expect_close("correct", correct, want.correct);
  });
  for_each_variant("head_loss", "gradient", [&] {
    const GuardedTensor token_loss = output({rows}), correct = output({rows}), dx = output({rows, dim}), dembedding = added_to({vocabulary, dim});
    ops::head_loss_with_gradient(x, embedding, targets, scale, token_loss, correct, dx, dembedding);
    expect_close("token_loss", token_loss, want.token_loss);
    expect_close("correct", correct, want.correct);
    expect_close("dx", dx, gradient.dx);
    expect_added("dembedding", dembedding, gradient.dembedding);
  });
}

TEST(HeadLoss, MatchesTheReference) {
  for (int rows : {0, 1, 5, 13, 33, 70})
    for (auto [dim, vocabulary] : {std::pair{1, 2}, {8, 16}, {16, 17}, {17, 63}, {33, 64}, {48, 65}, {64, 130}})
      check_head_loss({rows, dim, vocabulary}, 1, false);
  for (const Size& size : std::vector<Size>{{3, 4, 1}, {6, 65, 515}, {130, 16, 48}, {260, 5, 33}}) check_head_loss(size, 1, false);
}

TEST(HeadLoss, BackwardIsTheGradientOfForward) {
  for (const Size& size : std::vector<Size>{{1, 1, 2}, {3, 5, 7}, {2, 3, 19}}) check_head_loss(size, 2, true);
}

// Logits of +-80 and beyond: exp of their sum overflows unless each row's largest is subtracted first.
TEST(HeadLoss, LargeLogits) {
  for (float x_size : {20.f, 60.f}) check_head_loss({9, 16, 70}, x_size, false);
}

// All logits equal: the loss is log V, and a tie counts as correct.
TEST(HeadLoss, Ties) { check_head_loss({5, 8, 50}, 0, false); }

TEST(HeadLoss, SameBitsForAnyThreads) {
  Random random;
  const GuardedTensor x = random.input({520, 33}), embedding = random.input({300, 33});
  const GuardedIds targets = random.ids(520, 300);
  for_each_variant("head_loss", "gradient", [&] {
    expect_same_bits_for_any_threads([&]() -> Bits {
      const GuardedTensor token_loss = output({520}), correct = output({520}), dx = output({520, 33}), dembedding = added_to({300, 33});
      ops::head_loss_with_gradient(x, embedding, targets, 0.5f, token_loss, correct, dx, dembedding);
      return {token_loss.bits(), correct.bits(), dx.bits(), dembedding.bits()};
    });
  });
}

TEST(HeadLoss, TargetsOutOfRange) {
  Random random;
  const GuardedTensor x = random.input({3, 4}), embedding = random.input({7, 4}), token_loss = output({3}), correct = output({3});
  const GuardedTensor dx = output({3, 4}), dembedding = output({7, 4});
  for (int32_t wrong : {-1, 7, INT32_MIN, INT32_MAX}) {
    std::vector<int32_t> ids = {0, 6, wrong};
    const IntTensor targets(ids.data(), {3});
    expect_error([&] { ops::head_loss(x, embedding, targets, token_loss, correct); }, {"head_loss", std::to_string(wrong)});
    expect_error([&] { ops::head_loss_with_gradient(x, embedding, targets, 1, token_loss, correct, dx, dembedding); },
                 {"head_loss", std::to_string(wrong)});
  }
}

TEST(HeadLoss, WrongShapes) {
  Random random;
  const GuardedTensor x = output({3, 4}), embedding = output({7, 4}), loss = output({3}), wrong = output({7, 5});
  const GuardedIds targets = random.ids(3, 7), too_few = random.ids(2, 7);
  expect_error([&] { ops::head_loss(x, wrong, targets, loss, loss); }, {"head_loss"});
  expect_error([&] { ops::head_loss(x, embedding, too_few, loss, loss); }, {"head_loss"});
  expect_error([&] { ops::head_loss_with_gradient(x, embedding, targets, 1, loss, loss, x, wrong); }, {"head_loss"});
  expect_error([&] { ops::head_loss_with_gradient(x, embedding, targets, 1, loss, loss, embedding, embedding); }, {"head_loss"});
}

}  // namespace
}  // namespace mmrec
