#include "bench/workloads/workloads.h"
#include "model/parameters.h"
#include "runtime/ops/optimizer.h"

namespace mmrec::bench {

namespace {

int parameters_of(const char* name) { return static_cast<int>(parameter_count(parameter_table(preset(name)))); }

/// Reads gradient, weight and both moments, writes all but the gradient.
Workload adamw(int n) {
  return {.op = "adamw", .pass = {"step", "fwd"}, .sizes = {n}, .flops = 16. * n, .bytes = 28. * n, .prepare = [n](Operands& o) {
            const Tensor gradient = o.uniform({n}), weight = o.uniform({n}), m = o.zeros({n}), v = o.zeros({n});
            return [=] { ops::adamw({}, gradient, weight, m, v); };
          }};
}

Workload sum_of_squares(int n) {
  return {.op = "sum_of_squares", .pass = kForward, .sizes = {n}, .flops = 2. * n, .bytes = 4. * n, .prepare = [n](Operands& o) {
            const Tensor x = o.uniform({n}), sum = o.zeros({1});
            return [=] { sum.data()[0] = static_cast<float>(ops::sum_of_squares(x)); };
          }};
}

}  // namespace

Workload adamw_workload(std::string_view, const std::vector<int>& sizes) { return adamw(sizes.at(0)); }
Workload sum_of_squares_workload(std::string_view, const std::vector<int>& sizes) { return sum_of_squares(sizes.at(0)); }

void add_optimizer(Cases& cases) {
  for (const char* name : {"tiny", "mini"})
    for (const auto workload : {adamw, sum_of_squares}) cases.add(workload(parameters_of(name)));
}

}  // namespace mmrec::bench
