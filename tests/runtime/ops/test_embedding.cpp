#include "runtime/ops/embedding.h"

#include "bench/reference/embedding.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

/// Both passes only copy and add in a fixed order, so their results must equal those of plain float
/// loops bit for bit. The reference is used for the numeric gradient.
void check_embedding(int count, int vocabulary, int dim, bool by_differences) {
  Random random;
  const GuardedTensor table = random.input({vocabulary, dim}), dx = random.input({count, dim}),
                      before = random.input({vocabulary, dim});
  const GuardedIds ids = random.ids(count, vocabulary);
  const std::vector<int32_t> id_values = reference::values_of(ids);
  Array want_dtable = reference::embedding_backward(dx, id_values, before);
  if (by_differences) {
    Array at_table = table;
    const auto loss = [&] {
      return dot(before, at_table) + dot(dx, reference::embedding_forward(at_table, id_values));
    };
    want_dtable = proven("table", want_dtable, reference::numeric_gradient(at_table, loss));
  }
  const Array want_x = reference::embedding_forward(table, id_values);
  const GuardedTensor sums = inout(before);
  for (int n = 0; n < count; ++n)
    for (int d = 0; d < dim; ++d) sums[int64_t{ids[n]} * dim + d] += dx[int64_t{n} * dim + d];
  for_each_variant("embedding", "forward", [&] {
    const GuardedTensor x = output({count, dim});
    ops::embedding_forward(table, ids, x);
    expect_close("x", x, want_x);
  });
  for_each_variant("embedding", "backward", [&] {
    const GuardedTensor dtable = inout(before);
    ops::embedding_backward(dx, ids, dtable);
    expect_close("dtable", dtable, want_dtable);
    EXPECT_TRUE(dtable.bits() == sums.bits())
        << current_variant_string() << ": not in the order of n";
  });
}

TEST(Embedding, SumsAreInTheOrderOfN) {
  for (int vocabulary : {1, 5, 300})
    for (int dim : {1, 17, 64}) check_embedding(130, vocabulary, dim, false);
}

TEST(Embedding, BackwardIsTheGradientOfForward) { check_embedding(9, 5, 3, true); }

TEST(Embedding, IdsOutOfRange) {
  Random random;
  const GuardedTensor table = random.input({7, 4}), x = output({3, 4}), dx = random.input({3, 4}),
                      dtable = output({7, 4});
  for (int32_t wrong : {-1, 7, INT32_MIN, INT32_MAX}) {
    std::vector<int32_t> values = {0, wrong, 6};
    const IntTensor ids(values.data(), {3});
    expect_error([&] { ops::embedding_forward(table, ids, x); },
                 {"embedding", std::to_string(wrong)});
    expect_error([&] { ops::embedding_backward(dx, ids, dtable); },
                 {"embedding", std::to_string(wrong)});
  }
}

TEST(Embedding, WrongShapes) {
  Random random;
  const GuardedTensor table = output({7, 4}), x = output({3, 4});
  const GuardedIds ids = random.ids(3, 7), too_few = random.ids(2, 7);
  expect_error([&] { ops::embedding_forward(table, too_few, x); }, {"embedding"});
  expect_error([&] { ops::embedding_forward(table, ids, output({3, 5})); }, {"embedding"});
  expect_error([&] { ops::embedding_backward(x, ids, output({7, 5})); }, {"embedding"});
}

}  // namespace
}  // namespace mmrec
