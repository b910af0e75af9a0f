#include "runtime/ops/weight.h"

#include "runtime/threads.h"
#include "support/error.h"

namespace mmrec::ops {

void pack(const Weight& weight, const Tensor& norm) {
  check_shape("pack: weight", weight, {-1, -1});
  if (!all_packed("pack: packed", {&weight}))
    fail("pack: the weight has no memory for a packed copy");
  const int out = weight.size(0), in = weight.size(1);
  if (norm.rank() != 0) check_shape("pack: norm", norm, {in});
  parallel_for(weight.packed.size(0), [&](int panel) {
    const Tensor to = weight.packed.at(panel);
    set_zero(to);
    float* values = to.data();
    for (int column = 0; column < kWeightPanel; ++column) {
      const int n = panel * kWeightPanel + column;
      if (n >= out) break;
      const float* from = weight.data() + static_cast<int64_t>(n) * weight.stride(0);
      for (int k = 0; k < in; ++k)
        values[int64_t{kWeightPanel} * k + column] =
            norm.rank() == 0 ? from[k] : norm.data()[k] * from[k];
    }
  });
}

bool all_packed(const char* what, std::initializer_list<const Weight*> weights) {
  const bool packed = (*weights.begin())->is_packed();
  for (const Weight* weight : weights) {
    if (weight->is_packed() != packed)
      fail("{}: some weights are packed, and others are not", what);
    if (packed)
      check_shape(what, weight->packed,
                  {weight_panels(weight->size(0)), weight->size(1), kWeightPanel});
  }
  return packed;
}

}  // namespace mmrec::ops
