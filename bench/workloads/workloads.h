#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bench/harness/case.h"
#include "model/config.h"

namespace mmrec::bench {

/// Every row, in the order of the documentation.
std::vector<Case> all_cases();

/// The sizes of a batch of the model's presets: N = B*T rows of D columns, attention with `heads` over `slots`.
struct ModelShape {
  int N, D, heads, slots;
};
std::vector<ModelShape> model_shapes();

// bench_<operation>.cpp, one each.

/// A call of a pass of the registry, of sizes as the operation's SIZES name them.
using WorkloadOf = Workload(std::string_view pass, const std::vector<int>& sizes);
WorkloadOf adamw_workload, affine_scan_workload, attention_workload, column_sum_workload, dropout_workload, embedding_workload, ffn_workload,
    gemm_workload, hem_workload, linear_cross_entropy_workload, mdi_gamma_workload, recurrence_workload, rmsnorm_workload, scan_workload,
    sum_of_squares_workload;
/// That of an operation by its name.
Workload workload_of(std::string_view op, std::string_view pass, const std::vector<int>& sizes);
/// A training step of a model; `name` is what the rows call it.
Workload train_workload(const Config& config, const std::string& name, int B, int T);

void add_attention(Cases& cases);
void add_dropout(Cases& cases);
void add_embedding(Cases& cases);
void add_ffn(Cases& cases);
void add_gemm(Cases& cases);
void add_hem(Cases& cases);
void add_linear_cross_entropy(Cases& cases);
void add_mdi_gamma(Cases& cases);
void add_optimizer(Cases& cases);
void add_recurrence(Cases& cases);
void add_rmsnorm(Cases& cases);
void add_scan(Cases& cases);
void add_train(Cases& cases);

}  // namespace mmrec::bench
