#include "train/run/scale_plan.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <future>

#include "model/model.h"
#include "model/optimizer.h"
#include "model/parameters.h"
#include "runtime/threads.h"
#include "support/counted.h"
#include "support/error.h"
#include "support/stopwatch.h"
#include "train/ranks/gradient_sum.h"
#include "train/run/run_time.h"

namespace mmrec {

namespace {

/// Measures the bytes a second that `copies` threads together copy, each of them arrays that are no
/// longer in its caches: the best of a few tries. `copy(to, from, bytes)` is one of them.
template <class Copy>
double measure_copies(int copies, Copy copy) {
  constexpr size_t kBytes = size_t{16} << 20;
  constexpr int kTries = 4;
  std::vector<std::future<double>> all;
  for (int i = 0; i < copies; ++i)
    all.push_back(std::async(std::launch::async, [&] {
      std::vector<char> from(kBytes, 1), to(kBytes, 1);
      double best = 1e30;
      for (int tried = 0; tried < kTries; ++tried) {
        const Stopwatch time;
        copy(to.data(), from.data(), kBytes);
        best = std::min(best, time.seconds());
      }
      return kBytes / best;
    }));
  double sum = 0;
  for (std::future<double>& rate : all) sum += rate.get();
  return sum;
}

/// Copies as MPI does from rank to rank on a node: by the kernel, or, where it may not, through an
/// array that both ranks see.
void copy_between_ranks(char* to, char* from, size_t bytes) {
  const iovec local{to, bytes}, remote{from, bytes};
  if (::process_vm_readv(::getpid(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(bytes))
    return;
  for (int i = 0; i < 2; ++i) std::memcpy(to, from, bytes);
}

/// FLOPs a token of a block, forward and backward.
double block_flops(const TrainOptions& options) {
  const Config& config = options.config;
  const double head = 3 * (2. * config.vocab_size * config.dim);
  return (training_flops(config, options.sequence) - head) / config.layers;
}

/// Returns the chunks of GradientSum, and when in a part's time, by its products, they are
/// complete: after the forward pass and the head those of the blocks, the last one's first, and
/// then all else.
std::vector<StepTerms::Chunk> chunks_of(const std::vector<Parameter>& table,
                                        const TrainOptions& options) {
  const Config& config = options.config;
  const double all = training_flops(config, options.sequence), block = block_flops(options),
               forward = block / 3;
  double now = all - config.layers * (block - forward), rest = 0;
  std::vector<StepTerms::Chunk> chunks;
  for (int layer = config.layers - 1; layer >= 0; --layer) {
    now += block - forward + (options.recompute && layer < config.layers - 1 ? forward : 0);
    chunks.push_back({0, now});
  }
  for (StepTerms::Chunk& chunk : chunks) chunk.completed /= now;
  const auto order = backward_order(table);
  for (size_t i = 0; i < order.size(); ++i)
    (i < chunks.size() ? chunks[i].bytes : rest) +=
        4. * static_cast<double>(order[i].second - order[i].first);
  chunks.push_back({rest, 1});
  return chunks;
}

/// How much longer a part takes with the blocks' forward passes that are computed again.
double recomputing_factor(const TrainOptions& options) {
  if (!options.recompute) return 1;
  const Config& config = options.config;
  return 1 +
         block_flops(options) * (config.layers - 1) / 3 / training_flops(config, options.sequence);
}

/// Arrays that an optimizer's step reads and writes.
struct OptimizerArrays {
  explicit OptimizerArrays(const TrainOptions& options)
      : whole(1 + (options.optimizer.average > 0 ? 3 : 0)) {}
  double divided = 7;  ///< weights, gradients, moments
  double whole;        ///< gradients for their norm, and the average: sharding leaves them whole
};

/// Measures the bytes a second that each of so many ranks of a node reads and writes.
double measure_memory_rate(int ranks) {
  return 2 *
         measure_copies(num_threads(), [](char* to, const char* from,
                                          size_t bytes) { std::memcpy(to, from, bytes); }) /
         ranks;
}

StepCosts costs_by_rates(const RunAtScale& run, const std::vector<Parameter>& table,
                         double memory_rate, int ranks) {
  const TrainOptions& options = run.options;
  const double gradients = 4. * static_cast<double>(parameter_count(table)),
               part = training_flops(options.config, options.sequence) * options.batch *
                      options.sequence * recomputing_factor(options) * ranks / run.rates.step;
  const OptimizerArrays arrays(options);
  return {.part = {part},
          .optimizer = (arrays.divided + arrays.whole) * gradients / memory_rate +
                       optimizer_flops(table, options.optimizer) * ranks / run.rates.optimizer};
}

double memory_of_rank(const RunAtScale& run, const StepTerms& terms, int ranks) {
  const double gradients = terms.bytes();
  const auto alone =
      static_cast<double>(GradientSum::bytes(static_cast<int64_t>(gradients / 4), terms.parts));
  const double others_moments = terms.shards_optimizer ? 2 * gradients * (ranks - 1) / ranks : 0;
  return run.memory - alone + sum_bytes(gradients, terms.parts, ranks, terms.has_tree) -
         others_moments;
}

}  // namespace

void check_scale(const Scale& scale) {
  const auto needs_ranks = [&](bool is_given, const char* name) {
    if (is_given && scale.ranks == 0)
      fail_usage("--{} is for --plan with --ranks, the number of ranks to plan for", name);
  };
  needs_ranks(!scale.network.empty(), "network");
  needs_ranks(scale.ranks_per_node != 1, "ranks-per-node");
  if (!scale.network.empty()) parse_network(scale.network);
  if (scale.network.empty() && scale.ranks_per_node != 1)
    fail_usage(
        "--ranks-per-node {}: without --network all ranks are on one machine; give the network "
        "between the nodes, or leave --ranks-per-node out",
        scale.ranks_per_node);
}

ScalePlan plan_at_scale(const Scale& scale, const RunAtScale& run, const RunData& data) {
  constexpr double kMemoryShare = 0.8;
  constexpr double kLongestPart = 1.5, kLongestStep = 5, kMeasuring = 2.5;  // s
  constexpr double kSum = 3;            // arrays read and written for adding one to another
  constexpr double kAdding = 3 + kSum;  // the same for keeping one sum and adding another
  const TrainOptions& options = run.options;
  if (options.accumulate < scale.ranks)
    fail_usage(
        "--ranks {}: they cannot divide a step of {} among themselves; give the step more "
        "parts: the same windows with a smaller --batch and --accumulate {} or more",
        scale.ranks, counted(options.accumulate, "part"), scale.ranks);
  const std::vector<Parameter> table = parameter_table(options.config);
  const int on_node =
      scale.network.empty() ? scale.ranks : std::min(scale.ranks_per_node, scale.ranks);
  ScalePlan plan;
  if (!scale.network.empty()) plan.network = parse_network(scale.network);
  StepTerms& terms = plan.terms;
  terms.parts = options.accumulate;
  terms.has_tree = GradientSum::parse_order(options.allreduce) == GradientSum::Order::kTree;
  terms.shards_optimizer = options.shard_optimizer;
  terms.chunks = chunks_of(table, options);
  terms.ranks_per_node = on_node;
  terms.threads = std::max(1, num_threads() / on_node);
  terms.network = plan.network;
  if (on_node > 1)
    terms.copying = measure_copies(std::min(on_node, num_threads()), copy_between_ranks);

  const double memory_rate = measure_memory_rate(on_node);
  terms.adding = kSum / memory_rate;
  StepCosts costs = costs_by_rates(run, table, memory_rate, on_node);
  plan.is_measured = costs.part[0] < kLongestPart &&
                     costs.part[0] + costs.optimizer < kLongestStep &&
                     on_node * run.memory < kMemoryShare * run.machine_memory;
  if (plan.is_measured) costs = measure_step(kMeasuring, options, data, on_node, terms.threads);
  terms.part = costs.part;
  terms.further_part = terms.slowest(1) + kAdding * terms.bytes() / memory_rate;
  terms.optimizer = costs.optimizer;
  const OptimizerArrays arrays(options);
  terms.whole_optimizer = costs.optimizer * arrays.whole / (arrays.divided + arrays.whole);

  const double tokens = static_cast<double>(options.batch) * options.accumulate * options.sequence;
  const auto add = [&](int ranks) {
    const StepAtScale step = step_at_scale(terms, ranks);
    plan.rows.push_back({step, tokens / step.step, memory_of_rank(run, terms, ranks)});
  };
  for (int ranks = 1; ranks < scale.ranks; ranks *= 2) add(ranks);
  add(scale.ranks);
  return plan;
}

}  // namespace mmrec
