#include "bench/workloads/workloads.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "model/memory.h"
#include "support/error.h"

namespace mmrec::bench {

#define MMREC_OP(op, passes, ...) Description describe_##op();
#define MMREC_KERNEL(op, variant, generator, params, element, traits, condition)
#include "generators/kernels.def"
#undef MMREC_OP
#undef MMREC_KERNEL

namespace {

struct Described {
  std::string_view op;
  Description description;
};

/// In the registry's order.
const std::vector<Described>& descriptions() {
  static const std::vector<Described> all = {
#define MMREC_OP(op, passes, ...) {#op, describe_##op()},
#define MMREC_KERNEL(op, variant, generator, params, element, traits, condition)
#include "generators/kernels.def"
#undef MMREC_OP
#undef MMREC_KERNEL
  };
  return all;
}

ModelShape shape_of(const char* name, int B, int T) {
  const Config config = preset(name);
  return {B * T, config.dim, config.heads, top_slots(config)};
}

}  // namespace

const Description& description_of(std::string_view op) {
  const auto found = std::ranges::find(descriptions(), op, &Described::op);
  if (found == descriptions().end()) fail("there is no operation {}", op);
  return found->description;
}

Workload workload_of(std::string_view op, std::string_view pass, const std::vector<int>& sizes,
                     std::string_view dtype) {
  Workload work = description_of(op).workload(pass, sizes);
  work.precision = precision_of(dtype);
  return work;
}

std::vector<Case> all_cases() {
  Cases cases;
  for (const Described& described : descriptions()) described.description.add(cases);
  add_train(cases);
  add_generation(cases);
  add_executors(cases);
  // Sort so that all forward rows of an operation come before its backward rows.
  std::vector<Case> rows = cases.all();
  const auto kind = [](const Case& row) {
    return std::pair(row.work->op, row.work->pass.registry);
  };
  for (auto begin = rows.begin(); begin != rows.end();)
    begin = std::stable_partition(begin, rows.end(), [&, first = kind(*begin)](const Case& row) {
      return kind(row) == first;
    });
  return rows;
}

std::vector<ModelShape> model_shapes() {
  return {shape_of("tiny", 2, 256), shape_of("tiny", 6, 128), shape_of("mini", 2, 256),
          shape_of("small", 2, 256)};
}

std::vector<ModelShape> token_shapes() { return {shape_of("tiny", 1, 1), shape_of("mini", 1, 1)}; }

std::vector<std::vector<int>> crossed(const std::vector<int>& first,
                                      const std::vector<std::vector<int>>& others,
                                      const std::vector<std::vector<int>>& more) {
  std::vector<std::vector<int>> all;
  for (const int size : first)
    for (const std::vector<int>& behind : others) {
      all.push_back({size});
      all.back().insert(all.back().end(), behind.begin(), behind.end());
    }
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

ops::Weight random_weight(Operands& o, int out, int in, bool packed) {
  ops::Weight weight = o.uniform({out, in});
  if (packed) {
    weight.factors = precision();
    weight.packed =
        o.output({ops::weight_panels(out), ops::packed_rows(in, weight.factors), kWeightPanel});
  }
  return weight;
}

void pack_for_call(const ops::Weight& weight, const Tensor& norm) {
  if (weight.factors == Precision::kInt8) ops::round_to_int8(weight, norm);
  ops::pack(weight, norm);
}

float bf16_pair(float first, float second) {
  return std::bit_cast<float>(to_bf16(first) | uint32_t{to_bf16(second)} << 16);
}

std::vector<std::vector<int>> timed_scans() {
  // The documented shape, a longer one, few columns with long T, and 16.8 million elements, far
  // more than the caches hold.
  return {{8, 128, 64}, {8, 256, 128}, {1, 65536, 8}, {64, 2048, 128}};
}

std::vector<std::vector<int>> tested_scans() {
  return crossed({0, 1, 3},
                 crossed({0, 1, 2, 7, 8, 16, 33, 65, 130}, {{1}, {5}, {16}, {17}, {64}, {65}}),
                 {{1, 1000, 3}, {2, 515, 1}, {1, 515, 2}, {3, 300, 4}, {1, 1000, 8}, {8, 128, 64}});
}

}  // namespace mmrec::bench
