#include "runtime/ops/normal.h"

#include "runtime/kernel_registry.h"
#include "support/error.h"

namespace mmrec::ops {

void fill_normal(const Philox& random, uint64_t counter, float deviation, const Tensor& values) {
  const int64_t count = values.count();
  if (count % 4 != 0) fail("fill_normal: {} values are not whole blocks of 4", count);
  if (count == 0) return;
  const int N = static_cast<int>(count);
  const auto low = [](uint64_t word) { return static_cast<uint32_t>(word); };
  const auto high = [](uint64_t word) { return static_cast<uint32_t>(word >> 32); };
  static Kernel kernel("normal", "fill");
  kernel({.sizes = {N}}, low(random.seed()), high(random.seed()), low(random.stream()),
         high(random.stream()), low(counter), high(counter), deviation, values.reshape({N}));
}

}  // namespace mmrec::ops
