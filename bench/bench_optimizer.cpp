#include "bench/case.h"
#include "model/parameters.h"
#include "runtime/ops/optimizer.h"

namespace mmrec::bench {

void add_optimizer(Cases& cases) {
  for (const char* name : {"tiny", "mini"}) {
    const int n = static_cast<int>(parameter_count(parameter_table(preset(name))));
    // Reads gradient, weight and both moments, writes all but the gradient.
    cases.add({.op = "adamw", .pass = {"step", "fwd"}, .sizes = {n}, .flops = 16. * n, .bytes = 28. * n, .prepare = [n](Operands& o) {
                 const Tensor gradient = o.uniform({n}), weight = o.uniform({n}), m = o.zeros({n}), v = o.zeros({n});
                 return [=] { ops::adamw({}, gradient, weight, m, v); };
               }});
    cases.add({.op = "sum_of_squares", .pass = kForward, .sizes = {n}, .flops = 2. * n, .bytes = 4. * n, .prepare = [n](Operands& o) {
                 const Tensor x = o.uniform({n});
                 return [=] { ops::sum_of_squares(x); };
               }});
  }
}

}  // namespace mmrec::bench
