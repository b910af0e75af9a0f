#include "runtime/ops/dpg_gamma.h"

#include "bench/reference/dpg_gamma.h"
#include "bench/workloads/workloads.h"

namespace mmrec::bench {

namespace {

ops::DpgGammaWeights random_weights(Operands& o, int D, int R, bool packed = false) {
  return {random_weight(o, R, D, packed), o.uniform({R}), random_weight(o, D, R, packed),
          o.uniform({D})};
}

reference::DpgGammaWeights arrays(const ops::DpgGammaWeights& w) {
  return {w.down, w.down_bias, w.up, w.up_bias};
}

Workload workload(std::string_view pass, const std::vector<int>& sizes) {
  const int N = sizes.at(0), D = sizes.at(1), R = sizes.at(2);
  const double products = 4. * N * D * R;
  // As in the model, z is a quarter of the projection's columns.
  const bool packed = pass == kPacked.registry;
  if (packed || pass == kForward.registry)
    return {.op = "dpg_gamma",
            .pass = packed ? kPacked : kForward,
            .sizes = sizes,
            .flops = products,
            .bytes = 4. * (2. * N * D + 1. * N * R + 2. * D * R),
            .prepare = [=](Operands& o) {
              const Tensor z = o.uniform({N, 4 * D}).columns(3 * D, 4 * D);
              const ops::DpgGammaWeights weights = random_weights(o, D, R, packed);
              const Tensor hidden = o.output({N, R}), gamma = o.output({N, D});
              const auto before = [=] {
                if (packed)
                  for (const ops::Weight* weight : {&weights.down, &weights.up})
                    pack_for_call(*weight);
              };
              return Invocation{.before = before,
                                .run = [=] { ops::dpg_gamma_forward(z, weights, hidden, gamma); },
                                .expect = [=]() -> std::vector<Expected> {
                                  const reference::DpgGamma want =
                                      reference::dpg_gamma_forward(z, arrays(weights));
                                  return {{"hidden", hidden, want.hidden},
                                          {"gamma", gamma, want.gamma}};
                                }};
            }};
  return {.op = "dpg_gamma",
          .pass = kBackward,
          .sizes = sizes,
          .flops = 2 * products,
          .bytes = 4. * (5. * N * D + 1. * N * R + 4. * D * R),
          .prepare = [=](Operands& o) {
            const Tensor z = o.uniform({N, 4 * D}).columns(3 * D, 4 * D),
                         dz = o.output({N, 4 * D}).columns(3 * D, 4 * D);
            const Tensor dgamma = o.uniform({N, D}), residual = o.uniform({N, D});
            const ops::DpgGammaWeights weights = random_weights(o, D, R),
                                       sums = random_weights(o, D, R);
            const Tensor hidden = o.output({N, R}), gamma = o.output({N, D});
            return Invocation{.before = [=] { ops::dpg_gamma_forward(z, weights, hidden, gamma); },
                              .run =
                                  [=] {
                                    ops::dpg_gamma_backward(dgamma, residual, z, weights, hidden,
                                                            gamma, dz, sums);
                                  },
                              .expect = [=]() -> std::vector<Expected> {
                                const auto [want_dz, want] = reference::dpg_gamma_backward(
                                    dgamma, residual, z, arrays(weights));
                                return {{"dz", dz, want_dz},
                                        accumulated("down", sums.down, want.down),
                                        accumulated("down_bias", sums.down_bias, want.down_bias),
                                        accumulated("up", sums.up, want.up),
                                        accumulated("up_bias", sums.up_bias, want.up_bias)};
                              }};
          }};
}

void add(Cases& cases) {
  const int rank = Config{}.dpg_rank;
  for (const ModelShape& shape : model_shapes())
    for (const Pass& pass : {kForward, kBackward})
      cases.add(workload(pass.registry, {shape.N, shape.D, rank}));
  for (const ModelShape& shape : token_shapes())
    cases.add(workload(kPacked.registry, {shape.N, shape.D, rank}));
}

}  // namespace

Description describe_dpg_gamma() {
  return {.workload = workload,
          .tested = crossed({0, 1, 6, 8, 13, 33},
                            {{1, 1}, {4, 1}, {16, 4}, {17, 5}, {48, 12}, {64, 16}, {65, 33}},
                            {{29, 128, 32}, {520, 64, 16}}),
          .add = add};
}

}  // namespace mmrec::bench
