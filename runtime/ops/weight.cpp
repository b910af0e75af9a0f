#include "runtime/ops/weight.h"

#include "runtime/threads.h"

namespace mmrec::ops {

Weight Weight::columns(int begin, int end) const {
  Weight part = Tensor::columns(begin, end);
  if (is_packed()) part.packed = packed.slice(1, begin, end);
  return part;
}

void pack(const Weight& weight, const Tensor& norm) {
  check_packed("pack", weight);
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

void check_packed(const char* what, const Weight& weight, std::initializer_list<int> shape) {
  check_shape(what, weight, shape);
  check_shape(what, weight.packed,
              {(weight.size(0) + kWeightPanel - 1) / kWeightPanel, weight.size(1), kWeightPanel});
}

}  // namespace mmrec::ops
