#include "runtime/ops/linear_cross_entropy.h"

#include "bench/reference/linear_cross_entropy.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

struct Size {
  int rows, dim, vocabulary;
};

void check_linear_cross_entropy(const Size& size, float x_size, bool by_differences) {
  Random random;
  const int rows = size.rows, dim = size.dim, vocabulary = size.vocabulary;
  const float scale = 1.f / static_cast<float>(std::max(rows, 1));
  const GuardedTensor x = random.input({rows, dim}, -x_size, x_size),
                      embedding = random.input({vocabulary, dim});
  const GuardedIds targets = random.ids(rows, vocabulary);
  const std::vector<int32_t> target_values = reference::values_of(targets);
  const reference::LinearCrossEntropy want =
      reference::linear_cross_entropy(x, embedding, target_values);
  reference::LinearCrossEntropyGradient gradient =
      reference::linear_cross_entropy_backward(x, embedding, target_values, scale);
  if (by_differences) {
    Array at_x = x, at_embedding = embedding;
    const auto loss = [&] {
      double sum = 0;
      const Array token_loss =
          reference::linear_cross_entropy(at_x, at_embedding, target_values).token_loss;
      for (size_t i = 0; i < token_loss.count(); ++i) sum += scale * token_loss[i].value;
      return sum;
    };
    gradient.dx = proven("x", gradient.dx, reference::numeric_gradient(at_x, loss));
    gradient.dembedding =
        proven("embedding", gradient.dembedding, reference::numeric_gradient(at_embedding, loss));
  }
  for_each_variant("linear_cross_entropy", "loss", [&] {
    const GuardedTensor token_loss = output({rows}), correct = output({rows});
    ops::linear_cross_entropy(x, embedding, targets, token_loss, correct);
    expect_close("token_loss", token_loss, want.token_loss);
    expect_close("correct", correct, want.correct);
  });
  for_each_variant("linear_cross_entropy", "gradient", [&] {
    const GuardedTensor token_loss = output({rows}), correct = output({rows}),
                        dx = output({rows, dim}), dembedding = added_to({vocabulary, dim});
    ops::linear_cross_entropy_with_gradient(x, embedding, targets, scale, token_loss, correct, dx,
                                            dembedding);
    expect_close("token_loss", token_loss, want.token_loss);
    expect_close("correct", correct, want.correct);
    expect_close("dx", dx, gradient.dx);
    expect_added("dembedding", dembedding, gradient.dembedding);
  });
}

TEST(LinearCrossEntropy, BackwardIsTheGradientOfForward) {
  for (const Size& size : std::vector<Size>{{1, 1, 2}, {3, 5, 7}, {2, 3, 19}})
    check_linear_cross_entropy(size, 2, true);
}

// Logits of +-80 and more: the sum of exp overflows unless the row's maximum is subtracted first.
TEST(LinearCrossEntropy, LargeLogits) {
  for (float x_size : {20.f, 60.f}) check_linear_cross_entropy({9, 16, 70}, x_size, false);
}

// If all logits are equal, the loss is log V, and a tie counts as correct.
TEST(LinearCrossEntropy, Ties) { check_linear_cross_entropy({5, 8, 50}, 0, false); }

TEST(LinearCrossEntropy, TargetsOutOfRange) {
  Random random;
  const GuardedTensor x = random.input({3, 4}), embedding = random.input({7, 4}),
                      token_loss = output({3}), correct = output({3});
  const GuardedTensor dx = output({3, 4}), dembedding = output({7, 4});
  for (int32_t wrong : {-1, 7, INT32_MIN, INT32_MAX}) {
    std::vector<int32_t> ids = {0, 6, wrong};
    const IntTensor targets(ids.data(), {3});
    expect_error([&] { ops::linear_cross_entropy(x, embedding, targets, token_loss, correct); },
                 {"linear_cross_entropy", std::to_string(wrong)});
    expect_error(
        [&] {
          ops::linear_cross_entropy_with_gradient(x, embedding, targets, 1, token_loss, correct, dx,
                                                  dembedding);
        },
        {"linear_cross_entropy", std::to_string(wrong)});
  }
}

TEST(LinearCrossEntropy, WrongShapes) {
  Random random;
  const GuardedTensor x = output({3, 4}), embedding = output({7, 4}), loss = output({3}),
                      wrong = output({7, 5});
  const GuardedIds targets = random.ids(3, 7), too_few = random.ids(2, 7);
  expect_error([&] { ops::linear_cross_entropy(x, wrong, targets, loss, loss); },
               {"linear_cross_entropy"});
  expect_error([&] { ops::linear_cross_entropy(x, embedding, too_few, loss, loss); },
               {"linear_cross_entropy"});
  expect_error(
      [&] {
        ops::linear_cross_entropy_with_gradient(x, embedding, targets, 1, loss, loss, x, wrong);
      },
      {"linear_cross_entropy"});
  expect_error(
      [&] {
        ops::linear_cross_entropy_with_gradient(x, embedding, targets, 1, loss, loss, embedding,
                                                embedding);
      },
      {"linear_cross_entropy"});
}

}  // namespace
}  // namespace mmrec
