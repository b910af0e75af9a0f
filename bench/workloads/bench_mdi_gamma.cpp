#include "bench/workloads/workloads.h"
#include "model/blocks/mmrec_block.h"
#include "runtime/ops/mdi_gamma.h"

namespace mmrec::bench {

namespace {

ops::MdiGammaWeights mdi_gamma_weights(Operands& o, int D, int R) {
  return {o.uniform({R, D}), o.uniform({R}), o.uniform({D, R}), o.uniform({D}), o.uniform({R, D}), o.uniform({R}), o.uniform({D, R}), o.uniform({D})};
}

}  // namespace

Workload mdi_gamma_workload(std::string_view pass, const std::vector<int>& sizes) {
  const int N = sizes.at(0), D = sizes.at(1), R = sizes.at(2);
  const double products = 8. * N * D * R;
  // As in the model: k and z are quarters of the projection's columns.
  if (pass == kForward.registry)
    return {.op = "mdi_gamma",
            .pass = kForward,
            .sizes = sizes,
            .flops = products,
            .bytes = 4. * (5. * N * D + 2. * N * R + 4. * D * R),
            .prepare = [=](Operands& o) {
              const Tensor qkvz = o.uniform({N, 4 * D}), k = qkvz.columns(D, 2 * D), z = qkvz.columns(3 * D, 4 * D);
              const ops::MdiGammaWeights weights = mdi_gamma_weights(o, D, R);
              const ops::MdiGammaSaved saved{o.zeros({N, R}), o.zeros({N, R}), o.zeros({N, D}), o.zeros({N, D})};
              const Tensor gm = o.zeros({N, D});
              return [=] { ops::mdi_gamma_forward(z, k, weights, saved, gm); };
            }};
  return {.op = "mdi_gamma",
          .pass = kBackward,
          .sizes = sizes,
          .flops = 2 * products,
          .bytes = 4. * (8. * N * D + 2. * N * R + 8. * D * R),
          .prepare = [=](Operands& o) {
            const Tensor qkvz = o.uniform({N, 4 * D}), k = qkvz.columns(D, 2 * D), z = qkvz.columns(3 * D, 4 * D);
            const Tensor dqkvz = o.zeros({N, 4 * D}), dk = dqkvz.columns(D, 2 * D), dz = dqkvz.columns(3 * D, 4 * D);
            const Tensor dgm = o.uniform({N, D}), residual = o.uniform({N, D});
            const ops::MdiGammaWeights weights = mdi_gamma_weights(o, D, R), gradients = mdi_gamma_weights(o, D, R);
            const ops::MdiGammaSaved saved{o.uniform({N, R}), o.uniform({N, R}), o.uniform({N, D}, 0.1f, 0.9f), o.uniform({N, D}, 0.1f, 0.9f)};
            return [=] { ops::mdi_gamma_backward(dgm, 1.1f, residual, z, k, weights, saved, dz, dk, gradients); };
          }};
}

void add_mdi_gamma(Cases& cases) {
  for (const ModelShape& shape : model_shapes())
    for (const Pass& pass : {kForward, kBackward})
      cases.add(mdi_gamma_workload(pass.registry, {shape.N, shape.D, MmrecBlock::mdi_gamma_width(shape.D)}));
}

}  // namespace mmrec::bench
