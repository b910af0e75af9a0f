#include "bench/workloads/workloads.h"
#include "model/blocks/feed_forward.h"
#include "runtime/ops/ffn.h"

namespace mmrec::bench {

namespace {

ops::FfnWeights ffn_weights(Operands& o, int D, int F) {
  return {o.uniform({D}), o.uniform({F, D}), o.uniform({F}), o.uniform({D, F}), o.uniform({D})};
}

}  // namespace

Workload ffn_workload(std::string_view pass, const std::vector<int>& sizes) {
  const ops::Dropout mask_hidden{.p = 0.1f, .key = {1, 2}}, mask_out{.p = 0.1f, .key = {3, 4}};
  const int N = sizes.at(0), F = sizes.at(1), D = sizes.at(2);
  const double products = 4. * N * D * F;
  if (pass == kForward.registry)
    return {.op = "ffn",
            .pass = kForward,
            .sizes = sizes,
            .flops = products,
            .bytes = 4. * (2. * N * D + 2. * N * F + 2. * D * F),
            .prepare = [=](Operands& o) {
              const Tensor r = o.uniform({N, D}), y = o.zeros({N, D});
              const ops::FfnWeights weights = ffn_weights(o, D, F);
              const ops::FfnSaved saved{o.zeros({N}), o.zeros({N, F}), o.zeros({N, F})};
              return [=] { ops::ffn_forward(r, weights, mask_hidden, mask_out, saved, y); };
            }};
  return {.op = "ffn",
          .pass = kBackward,
          .sizes = sizes,
          .flops = 2 * products,
          .bytes = 4. * (3. * N * D + 2. * N * F + 4. * D * F),
          .prepare = [=](Operands& o) {
            const Tensor dy = o.uniform({N, D}), r = o.uniform({N, D}), dr = o.zeros({N, D});
            const ops::FfnWeights weights = ffn_weights(o, D, F), gradients = ffn_weights(o, D, F);
            const ops::FfnSaved saved{o.uniform({N}, 1, 2), o.uniform({N, F}), o.uniform({N, F})};
            return [=] { ops::ffn_backward(dy, r, weights, mask_out, saved, dr, gradients); };
          }};
}

void add_ffn(Cases& cases) {
  for (const ModelShape& shape : model_shapes())
    for (const Pass& pass : {kForward, kBackward}) cases.add(ffn_workload(pass.registry, {shape.N, ffn_width(shape.D), shape.D}));
}

}  // namespace mmrec::bench
