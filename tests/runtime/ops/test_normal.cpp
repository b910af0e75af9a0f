#include "runtime/ops/normal.h"

#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

void check_normal(int count, uint64_t counter) {
  const Philox random(0x123456789abcdefu, rng_stream(Stream::kMemory, 7));
  constexpr float kDeviation = 0.02f;
  for_each_variant("normal", "fill", [&] {
    const GuardedTensor values = output({count}, {});
    ops::fill_normal(random, counter, kDeviation, values);
    for (int i = 0; i < count; ++i)
      ASSERT_EQ(Tensor(values).data()[i],
                kDeviation * random.normals(counter + static_cast<uint64_t>(i / 4))[i % 4])
          << i;
  });
}

TEST(Normal, HasTheBitsOfPhilox) {
  for (const int count : {4, 60, 64, 68, 4096, 100'020}) check_normal(count, 5);
}

TEST(Normal, CountsBeyond32Bits) {
  check_normal(64, UINT32_MAX - 7);
  check_normal(64, UINT64_MAX - 7);
}

TEST(Normal, RefusesPartsOfABlock) {
  float values[6];
  expect_error([&] { ops::fill_normal(Philox(1, 2), 0, 1, Tensor(values, {6})); },
               {"6 values", "blocks of 4"});
}

}  // namespace
}  // namespace mmrec
