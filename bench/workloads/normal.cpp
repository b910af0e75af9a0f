#include "bench/reference/normal.h"

#include "bench/workloads/workloads.h"
#include "model/config.h"
#include "model/memory.h"
#include "runtime/ops/normal.h"

namespace mmrec::bench {

namespace {

Workload workload(std::string_view, const std::vector<int>& sizes) {
  constexpr uint64_t kCounter = UINT32_MAX - 3;  // its upper half changes on the way
  constexpr float kDeviation = 0.02f;
  const int N = sizes.at(0);
  return {.op = "normal",
          .pass = {"fill", "fwd"},
          .sizes = sizes,
          .flops = 0,
          .bytes = 4. * N,
          .prepare = [N](Operands& o) {
            const Philox random(0x123456789abcdefu, rng_stream(Stream::kMemory, 7));
            const Tensor values = o.output({N});
            return Invocation{
                .run = [=] { ops::fill_normal(random, kCounter, kDeviation, values); },
                .expect = [=]() -> std::vector<Expected> {
                  return {{"values", values, reference::normals(random, kCounter, kDeviation, N)}};
                }};
          }};
}

void add(Cases& cases) {
  for (const char* name : {"tiny", "mini"}) {
    const Config config = preset(name);
    cases.add(workload("fill", {top_slots(config) * config.dim}));
  }
}

}  // namespace

Description describe_normal() {
  return {
      .workload = workload, .tested = {{0}, {4}, {60}, {64}, {68}, {8192}, {40'012}}, .add = add};
}

}  // namespace mmrec::bench
