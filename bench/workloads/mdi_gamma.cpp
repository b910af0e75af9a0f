#include "bench/reference/mdi_gamma.h"

#include "bench/workloads/workloads.h"
#include "model/blocks/mmrec_block.h"
#include "runtime/ops/mdi_gamma.h"

namespace mmrec::bench {

namespace {

ops::MdiGammaWeights random_weights(Operands& o, int D, int R, bool packed = false) {
  return {random_weight(o, R, D, packed), o.uniform({R}),
          random_weight(o, D, R, packed), o.uniform({D}),
          random_weight(o, R, D, packed), o.uniform({R}),
          random_weight(o, D, R, packed), o.uniform({D})};
}

reference::MdiGammaWeights arrays(const ops::MdiGammaWeights& w) {
  return {w.gamma_in,   w.gamma_in_bias,   w.gamma_out,   w.gamma_out_bias,
          w.context_in, w.context_in_bias, w.context_out, w.context_out_bias};
}

/// The operands of both passes. As in the model, k and z are quarters of the projection's columns.
struct Call {
  Call(Operands& o, int N, int D, int R, bool packed = false)
      : qkvz(o.uniform({N, 4 * D})),
        k(qkvz.columns(D, 2 * D)),
        z(qkvz.columns(3 * D, 4 * D)),
        weights(random_weights(o, D, R, packed)),
        saved{o.output({N, R}), o.output({N, R}), o.output({N, D}), o.output({N, D})},
        gm(o.output({N, D})) {}
  void pack() const {
    for (const ops::Weight* weight :
         {&weights.gamma_in, &weights.gamma_out, &weights.context_in, &weights.context_out})
      pack_for_call(*weight);
  }
  void forward() const { ops::mdi_gamma_forward(z, k, weights, saved, gm); }

  Tensor qkvz, k, z;
  ops::MdiGammaWeights weights;
  ops::MdiGammaSaved saved;
  Tensor gm;
};

Workload forward(const std::vector<int>& sizes, bool packed) {
  const int N = sizes.at(0), D = sizes.at(1), R = sizes.at(2);
  return {.op = "mdi_gamma",
          .pass = packed ? kPacked : kForward,
          .sizes = sizes,
          .flops = 8. * N * D * R,
          .bytes = 4. * (5. * N * D + 2. * N * R + 4. * D * R),
          .prepare = [=](Operands& o) {
            const Call call(o, N, D, R, packed);
            const auto before = [=] {
              if (packed) call.pack();
            };
            return Invocation{
                .before = before,
                .run = [=] { call.forward(); },
                .expect = [=]() -> std::vector<Expected> {
                  const reference::MdiGamma want =
                      reference::mdi_gamma_forward(call.z, call.k, arrays(call.weights));
                  const ops::MdiGammaSaved& saved = call.saved;
                  return {{"gamma_hidden", saved.gamma_hidden, want.gamma_hidden},
                          {"context_hidden", saved.context_hidden, want.context_hidden},
                          {"gamma_sigmoid", saved.gamma_sigmoid, want.gamma_sigmoid},
                          {"context_sigmoid", saved.context_sigmoid, want.context_sigmoid},
                          {"gm", call.gm, want.gm}};
                }};
          }};
}

Workload backward(const std::vector<int>& sizes) {
  constexpr float kScale = 1.1f;
  const int N = sizes.at(0), D = sizes.at(1), R = sizes.at(2);
  return {
      .op = "mdi_gamma",
      .pass = kBackward,
      .sizes = sizes,
      .flops = 16. * N * D * R,
      .bytes = 4. * (8. * N * D + 2. * N * R + 8. * D * R),
      .prepare = [=](Operands& o) {
        const Call call(o, N, D, R);
        const Tensor dqkvz = o.output({N, 4 * D}), dk = dqkvz.columns(D, 2 * D),
                     dz = dqkvz.columns(3 * D, 4 * D);
        const Tensor dgm = o.uniform({N, D}), residual = o.uniform({N, D});
        const ops::MdiGammaWeights sums = random_weights(o, D, R);
        return Invocation{
            .before = [=] { call.forward(); },
            .run =
                [=] {
                  ops::mdi_gamma_backward(dgm, kScale, residual, call.z, call.k, call.weights,
                                          call.saved, dz, dk, sums);
                },
            .expect = [=]() -> std::vector<Expected> {
              const auto [want_dz, want_dk, want] = reference::mdi_gamma_backward(
                  dgm, kScale, residual, call.z, call.k, arrays(call.weights));
              return {
                  {"dz", dz, want_dz},
                  {"dk", dk, want_dk},
                  accumulated("gamma_in", sums.gamma_in, want.gamma_in),
                  accumulated("gamma_in_bias", sums.gamma_in_bias, want.gamma_in_bias),
                  accumulated("gamma_out", sums.gamma_out, want.gamma_out),
                  accumulated("gamma_out_bias", sums.gamma_out_bias, want.gamma_out_bias),
                  accumulated("context_in", sums.context_in, want.context_in),
                  accumulated("context_in_bias", sums.context_in_bias, want.context_in_bias),
                  accumulated("context_out", sums.context_out, want.context_out),
                  accumulated("context_out_bias", sums.context_out_bias, want.context_out_bias)};
            }};
      }};
}

Workload workload(std::string_view pass, const std::vector<int>& sizes) {
  if (pass == kBackward.registry) return backward(sizes);
  return forward(sizes, pass == kPacked.registry);
}

void add(Cases& cases) {
  for (const ModelShape& shape : model_shapes())
    for (const Pass& pass : {kForward, kBackward})
      cases.add(workload(pass.registry, {shape.N, shape.D, MmrecBlock::mdi_gamma_width(shape.D)}));
  for (const ModelShape& shape : token_shapes())
    cases.add(workload(kPacked.registry, {shape.N, shape.D, MmrecBlock::mdi_gamma_width(shape.D)}));
}

}  // namespace

Description describe_mdi_gamma() {
  return {.workload = workload,
          .tested = crossed({0, 1, 6, 8, 13, 33},
                            {{1, 1}, {4, 1}, {16, 4}, {17, 5}, {48, 12}, {64, 16}, {65, 33}},
                            {{29, 128, 32}, {520, 64, 16}}),
          .add = add};
}

}  // namespace mmrec::bench
