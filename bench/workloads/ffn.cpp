#include "bench/reference/ffn.h"

#include "bench/workloads/workloads.h"
#include "model/blocks/feed_forward.h"
#include "runtime/ops/ffn.h"

namespace mmrec::bench {

namespace {

ops::FfnWeights random_weights(Operands& o, int D, int F, bool packed = false) {
  return {o.uniform({D}), random_weight(o, F, D, packed), o.uniform({F}),
          random_weight(o, D, F, packed), o.uniform({D})};
}

Workload workload(std::string_view pass, const std::vector<int>& sizes) {
  const ops::Dropout mask_hidden{.p = 0.1f, .key = {1, 2}}, mask_out{.p = 0.1f, .key = {3, 4}};
  const int N = sizes.at(0), F = sizes.at(1), D = sizes.at(2);
  const double products = 4. * N * D * F;
  const auto arrays = [](const ops::FfnWeights& w) {
    return reference::FfnWeights{w.norm, w.in, w.in_bias, w.out, w.out_bias};
  };
  const bool packed = pass == kPacked.registry;
  if (packed || pass == kForward.registry)
    return {.op = "ffn",
            .pass = packed ? kPacked : kForward,
            .sizes = sizes,
            .flops = products,
            .bytes = 4. * (2. * N * D + 2. * N * F + 2. * D * F),
            .prepare = [=](Operands& o) {
              const Tensor r = o.uniform({N, D}), y = o.output({N, D});
              const ops::FfnWeights weights = random_weights(o, D, F, packed);
              const ops::FfnSaved saved{o.output({N}), o.saved({N, F}), o.saved({N, F})};
              const auto before = [=] {
                if (!packed) return;
                pack_for_call(weights.in, weights.norm);
                pack_for_call(weights.out);
              };
              return Invocation{
                  .before = before,
                  .run = [=] { ops::ffn_forward(r, weights, mask_hidden, mask_out, saved, y); },
                  .expect = [=]() -> std::vector<Expected> {
                    const reference::Ffn want =
                        reference::ffn_forward(r, arrays(weights), mask_hidden, mask_out);
                    return {{"rstd", saved.rstd, want.rstd},
                            {"slope", saved.slope, want.slope},
                            {"activated", saved.activated, want.activated},
                            {"y", y, want.y}};
                  }};
            }};
  return {.op = "ffn",
          .pass = kBackward,
          .sizes = sizes,
          .flops = 2 * products,
          .bytes = 4. * (3. * N * D + 2. * N * F + 4. * D * F),
          .prepare = [=](Operands& o) {
            const Tensor dy = o.uniform({N, D}), r = o.uniform({N, D}), y = o.output({N, D}),
                         dr = o.output({N, D});
            const ops::FfnWeights weights = random_weights(o, D, F), sums = random_weights(o, D, F);
            const ops::FfnSaved saved{o.output({N}), o.saved({N, F}), o.saved({N, F})};
            return Invocation{
                .before = [=] { ops::ffn_forward(r, weights, mask_hidden, mask_out, saved, y); },
                .run = [=] { ops::ffn_backward(dy, r, weights, mask_out, saved, dr, sums); },
                .expect = [=]() -> std::vector<Expected> {
                  const auto [want_dr, want] =
                      reference::ffn_backward(dy, r, arrays(weights), mask_hidden, mask_out);
                  return {{"dr", dr, want_dr},
                          accumulated("norm", sums.norm, want.norm),
                          accumulated("in", sums.in, want.in),
                          accumulated("in_bias", sums.in_bias, want.in_bias),
                          accumulated("out", sums.out, want.out),
                          accumulated("out_bias", sums.out_bias, want.out_bias)};
                }};
          }};
}

void add(Cases& cases) {
  for (const ModelShape& shape : model_shapes())
    for (const Pass& pass : {kForward, kBackward})
      cases.add(workload(pass.registry, {shape.N, ffn_width(shape.D), shape.D}));
  for (const ModelShape& shape : token_shapes())
    cases.add(workload(kPacked.registry, {shape.N, ffn_width(shape.D), shape.D}));
}

}  // namespace

Description describe_ffn() {
  return {.workload = workload,
          .tested = crossed({0, 1, 6, 8, 13, 33},
                            {{1, 1}, {17, 3}, {64, 16}, {31, 17}, {32, 48}, {49, 64}},
                            {{29, 260, 65}, {520, 130, 48}}),
          .add = add};
}

}  // namespace mmrec::bench
