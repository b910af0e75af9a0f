#include "bench/reference/attention.h"

#include "bench/workloads/workloads.h"
#include "runtime/ops/attention.h"

namespace mmrec::bench {

namespace {

Workload workload(std::string_view pass, const std::vector<int>& sizes) {
  const int N = sizes.at(0), S = sizes.at(1), H = sizes.at(2), D = sizes.at(3);
  const bool packed = pass == kPacked.registry, forward = packed || pass == kForward.registry;
  const double products = 4. * N * S * D,
               bytes = 4. * (2. * N * D + 2. * S * D + (forward ? 1. : 2.) * N * H * S);
  if (forward)
    return {.op = "attention",
            .pass = packed ? kPacked : kForward,
            .sizes = sizes,
            .flops = products,
            .bytes = bytes,
            .prepare = [=](Operands& o) {
              const Tensor q = o.uniform({N, D}), values = o.uniform({S, D});
              const ops::Weight keys = random_weight(o, S, D, packed);
              const Tensor p = o.output({N, H, S}), context = o.output({N, D});
              const auto before = [=] {
                if (packed) pack_for_call(keys);
              };
              return Invocation{.before = before,
                                .run = [=] { ops::attention_forward(q, keys, values, p, context); },
                                .expect = [=]() -> std::vector<Expected> {
                                  const reference::Attention want =
                                      reference::attention_forward(q, keys, values, H);
                                  return {{"p", p, want.p}, {"context", context, want.context}};
                                }};
            }};
  return {.op = "attention",
          .pass = kBackward,
          .sizes = sizes,
          .flops = products,
          .bytes = bytes,
          .prepare = [=](Operands& o) {
            const Tensor q = o.uniform({N, D}), keys = o.uniform({S, D}),
                         values = o.uniform({S, D}), dcontext = o.uniform({N, D});
            const Tensor p = o.output({N, H, S}), context = o.output({N, D}),
                         dscores = o.output({H, N, S}), dq = o.output({N, D});
            return Invocation{
                .before = [=] { ops::attention_forward(q, keys, values, p, context); },
                .run = [=] { ops::attention_backward(dcontext, keys, values, p, dscores, dq); },
                .expect = [=]() -> std::vector<Expected> {
                  const reference::AttentionGradients want =
                      reference::attention_backward(dcontext, q, keys, values, H);
                  return {{"dscores", dscores, want.scores}, {"dq", dq, want.q}};
                }};
          }};
}

void add(Cases& cases) {
  for (const ModelShape& shape : model_shapes())
    for (const Pass& pass : {kForward, kBackward})
      cases.add(workload(pass.registry, {shape.N, shape.slots, shape.heads, shape.D}));
  for (const ModelShape& shape : token_shapes())
    cases.add(workload(kPacked.registry, {shape.N, shape.slots, shape.heads, shape.D}));
}

}  // namespace

Description describe_attention() {
  return {.workload = workload,
          .tested = crossed(
              {0, 1, 7, 16, 33},
              crossed({1, 8, 17, 64}, {{1, 1}, {2, 16}, {3, 15}, {4, 64}, {2, 66}, {4, 128}}),
              {{5, 130, 2, 32}, {520, 17, 2, 32}}),
          .add = add};
}

}  // namespace mmrec::bench
