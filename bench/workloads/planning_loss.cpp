#include "runtime/ops/planning_loss.h"

#include "bench/reference/planning_loss.h"
#include "bench/workloads/workloads.h"

namespace mmrec::bench {

namespace {

ops::PlanningLossWeights random_weights(Operands& o, int D) {
  return {o.uniform({D, D}), o.uniform({D}), o.uniform({D, D}), o.uniform({D}),
          o.uniform({D, D}), o.uniform({D}), o.uniform({D, D}), o.uniform({D})};
}

reference::PlanningLossWeights arrays(const ops::PlanningLossWeights& w) {
  return {w.error_in,  w.error_in_bias,  w.error_out,  w.error_out_bias,
          w.target_in, w.target_in_bias, w.target_out, w.target_out_bias};
}

/// The operands of both passes. As in the model, z is a quarter of the projection's columns, and g
/// is half of the gates.
struct Call {
  Call(Operands& o, int N, int D)
      : h(o.uniform({N, D})),
        z(o.uniform({N, 4 * D}).columns(3 * D, 4 * D)),
        g(o.uniform({N, 2 * D}).columns(D, 2 * D)),
        gm(o.uniform({N, D})),
        weights(random_weights(o, D)),
        saved{o.output({N, D}), o.output({N, D}), o.output({N, D}),
              o.output({N, D}), o.output({N, D}), o.output({N, D})},
        loss(o.output({N})) {}
  void forward() const { ops::planning_loss_forward(h, z, g, gm, weights, saved, loss); }

  Tensor h, z, g, gm;
  ops::PlanningLossWeights weights;
  ops::PlanningLossSaved saved;
  Tensor loss;
};

Workload forward(const std::vector<int>& sizes) {
  const int N = sizes.at(0), D = sizes.at(1);
  return {.op = "planning_loss",
          .pass = kForward,
          .sizes = sizes,
          .flops = 8. * N * D * D,
          .bytes = 4. * (10. * N * D + 4. * D * D),
          .prepare = [=](Operands& o) {
            const Call call(o, N, D);
            return Invocation{
                .run = [=] { call.forward(); },
                .expect = [=]() -> std::vector<Expected> {
                  const reference::PlanningLoss want = reference::planning_loss_forward(
                      call.h, call.z, call.g, call.gm, arrays(call.weights));
                  const ops::PlanningLossSaved& s = call.saved;
                  using reference::gelu, reference::gelu_slope, reference::map;
                  return {{"m", s.m, want.m},
                          {"error_slope", s.error_slope, map(want.error_hidden, gelu_slope)},
                          {"error_activated", s.error_activated, map(want.error_hidden, gelu)},
                          {"target_slope", s.target_slope, map(want.target_hidden, gelu_slope)},
                          {"target_activated", s.target_activated, map(want.target_hidden, gelu)},
                          {"difference", s.difference, want.difference},
                          {"loss", call.loss, want.loss}};
                }};
          }};
}

Workload backward(const std::vector<int>& sizes) {
  const int N = sizes.at(0), D = sizes.at(1);
  return {.op = "planning_loss",
          .pass = kBackward,
          .sizes = sizes,
          .flops = 14. * N * D * D,
          .bytes = 4. * (9. * N * D + 7. * D * D),
          .prepare = [=](Operands& o) {
            constexpr float kScale = 0.1f;
            const Call call(o, N, D);
            const Tensor residual = o.uniform({N, D}), dh = o.output({N, D});
            const ops::PlanningLossWeights sums = random_weights(o, D);
            return Invocation{
                .before = [=] { call.forward(); },
                .run =
                    [=] {
                      ops::planning_loss_backward(kScale, residual, call.h, call.weights,
                                                  call.saved, dh, sums);
                    },
                .expect = [=]() -> std::vector<Expected> {
                  const auto [want_dh, want] = reference::planning_loss_backward(
                      kScale, residual, call.h, call.z, call.g, call.gm, arrays(call.weights));
                  return {
                      {"dh", dh, want_dh},
                      accumulated("error_in", sums.error_in, want.error_in),
                      accumulated("error_in_bias", sums.error_in_bias, want.error_in_bias),
                      accumulated("error_out", sums.error_out, want.error_out),
                      accumulated("error_out_bias", sums.error_out_bias, want.error_out_bias),
                      accumulated("target_in", sums.target_in, want.target_in),
                      accumulated("target_in_bias", sums.target_in_bias, want.target_in_bias),
                      accumulated("target_out", sums.target_out, want.target_out),
                      accumulated("target_out_bias", sums.target_out_bias, want.target_out_bias)};
                }};
          }};
}

Workload workload(std::string_view pass, const std::vector<int>& sizes) {
  return pass == kForward.registry ? forward(sizes) : backward(sizes);
}

void add(Cases& cases) {
  for (const ModelShape& shape : model_shapes())
    for (const Pass& pass : {kForward, kBackward})
      cases.add(workload(pass.registry, {shape.N, shape.D}));
}

}  // namespace

Description describe_planning_loss() {
  return {.workload = workload,
          .tested = crossed({0, 1, 6, 8, 13, 33}, {{1}, {4}, {17}, {32}, {64}, {65}},
                            {{29, 128}, {520, 64}}),
          .add = add};
}

}  // namespace mmrec::bench
