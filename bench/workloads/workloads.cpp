#include "bench/workloads/workloads.h"

#include <algorithm>
#include <utility>

#include "model/memory.h"
#include "support/error.h"

namespace mmrec::bench {

std::vector<Case> all_cases() {
  Cases cases;
  for (const auto add : {add_scan, add_gemm, add_recurrence, add_embedding, add_hem, add_mdi_gamma, add_attention, add_dropout, add_ffn, add_rmsnorm,
                         add_linear_cross_entropy, add_optimizer, add_train})
    add(cases);
  // An operation's forward rows before its backward rows.
  std::vector<Case> rows = cases.all();
  const auto kind = [](const Case& row) { return std::pair(row.work->op, row.work->pass.registry); };
  for (auto begin = rows.begin(); begin != rows.end();)
    begin = std::stable_partition(begin, rows.end(), [&, first = kind(*begin)](const Case& row) { return kind(row) == first; });
  return rows;
}

Workload workload_of(std::string_view op, std::string_view pass, const std::vector<int>& sizes) {
  constexpr struct {
    std::string_view op;
    WorkloadOf* workload;
  } kWorkloads[] = {{"adamw", adamw_workload},
                    {"affine_scan", affine_scan_workload},
                    {"attention", attention_workload},
                    {"column_sum", column_sum_workload},
                    {"dropout", dropout_workload},
                    {"embedding", embedding_workload},
                    {"ffn", ffn_workload},
                    {"gemm", gemm_workload},
                    {"hem", hem_workload},
                    {"linear_cross_entropy", linear_cross_entropy_workload},
                    {"mdi_gamma", mdi_gamma_workload},
                    {"recurrence", recurrence_workload},
                    {"rmsnorm", rmsnorm_workload},
                    {"scan", scan_workload},
                    {"sum_of_squares", sum_of_squares_workload}};
  for (const auto& [name, workload] : kWorkloads)
    if (op == name) return workload(pass, sizes);
  fail("bench has no workload for the operation {}", op);
}

std::vector<ModelShape> model_shapes() {
  constexpr struct {
    const char* preset;
    int B, T;
  } kBatches[] = {{"tiny", 2, 256}, {"tiny", 6, 128}, {"mini", 2, 256}, {"small", 2, 256}};
  std::vector<ModelShape> shapes;
  for (const auto& batch : kBatches) {
    const Config config = preset(batch.preset);
    shapes.push_back({batch.B * batch.T, config.dim, config.heads, top_slots(config)});
  }
  return shapes;
}

}  // namespace mmrec::bench
