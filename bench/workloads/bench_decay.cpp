#include "bench/workloads/workloads.h"
#include "model/blocks/mmrec_block.h"
#include "runtime/ops/decay.h"

namespace mmrec::bench {

namespace {

ops::DecayWeights decay_weights(Operands& o, int D, int R) {
  return {o.uniform({R, D}), o.uniform({R}), o.uniform({D, R}), o.uniform({D}), o.uniform({R, D}), o.uniform({R}), o.uniform({D, R}), o.uniform({D})};
}

}  // namespace

Workload decay_workload(std::string_view pass, const std::vector<int>& sizes) {
  const int N = sizes.at(0), D = sizes.at(1), R = sizes.at(2);
  const double products = 8. * N * D * R;
  // As in the model: k and z are quarters of the projection's columns.
  if (pass == kForward.registry)
    return {.op = "decay",
            .pass = kForward,
            .sizes = sizes,
            .flops = products,
            .bytes = 4. * (5. * N * D + 2. * N * R + 4. * D * R),
            .prepare = [=](Operands& o) {
              const Tensor qkvz = o.uniform({N, 4 * D}), k = qkvz.columns(D, 2 * D), z = qkvz.columns(3 * D, 4 * D);
              const ops::DecayWeights weights = decay_weights(o, D, R);
              const ops::DecaySaved saved{o.zeros({N, R}), o.zeros({N, R}), o.zeros({N, D}), o.zeros({N, D})};
              const Tensor gm = o.zeros({N, D});
              return [=] { ops::decay_forward(z, k, weights, saved, gm); };
            }};
  return {.op = "decay",
          .pass = kBackward,
          .sizes = sizes,
          .flops = 2 * products,
          .bytes = 4. * (8. * N * D + 2. * N * R + 8. * D * R),
          .prepare = [=](Operands& o) {
            const Tensor qkvz = o.uniform({N, 4 * D}), k = qkvz.columns(D, 2 * D), z = qkvz.columns(3 * D, 4 * D);
            const Tensor dqkvz = o.zeros({N, 4 * D}), dk = dqkvz.columns(D, 2 * D), dz = dqkvz.columns(3 * D, 4 * D);
            const Tensor dgm = o.uniform({N, D}), residual = o.uniform({N, D});
            const ops::DecayWeights weights = decay_weights(o, D, R), gradients = decay_weights(o, D, R);
            const ops::DecaySaved saved{o.uniform({N, R}), o.uniform({N, R}), o.uniform({N, D}, 0.1f, 0.9f), o.uniform({N, D}, 0.1f, 0.9f)};
            return [=] { ops::decay_backward(dgm, 1.1f, residual, z, k, weights, saved, dz, dk, gradients); };
          }};
}

void add_decay(Cases& cases) {
  for (const ModelShape& shape : model_shapes())
    for (const Pass& pass : {kForward, kBackward}) cases.add(decay_workload(pass.registry, {shape.N, shape.D, MmrecBlock::decay_width(shape.D)}));
}

}  // namespace mmrec::bench
