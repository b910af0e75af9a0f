#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <thread>
#include <utility>

#include "model/config_file.h"
#include "model/optimizer.h"
#include "model/safetensors.h"
#include "runtime/ops/muon.h"
#include "runtime/ops/optimizer.h"
#include "support/atomic_file.h"
#include "support/checksum.h"
#include "tests/common/bf16.h"
#include "tests/common/expect_error.h"
#include "tests/common/kernel_test.h"
#include "tests/common/small_runs.h"
#include "tests/common/temporary_directory.h"
#include "tests/common/trace_file.h"
#include "train/data/corpus.h"
#include "train/data/split.h"
#include "train/data/windows.h"
#include "train/infer/evaluation.h"
#include "train/report/run_report.h"
#include "train/run/checkpoint.h"
#include "train/run/metrics.h"
#include "train/run/recorded_run.h"

#if defined(__has_feature)
#define MMREC_HAS_FEATURE(name) __has_feature(name)
#else
#define MMREC_HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || MMREC_HAS_FEATURE(address_sanitizer)
#define MMREC_COUNTS_BY_HOOK
#elif defined(__GLIBC__)
#define MMREC_COUNTS_BY_REPLACEMENT
#endif

// ------------------------------------------------------------------------- allocations are counted

namespace {

std::atomic<bool> counting{false};
std::atomic<int> allocation_count{0};

void note_allocation() {
  if (counting.load(std::memory_order_relaxed))
    allocation_count.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

#ifdef MMREC_COUNTS_BY_HOOK
// From sanitizer/allocator_interface.h, which GCC does not install.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void*,
                                                                             size_t),
                                                         void (*free_hook)(const volatile void*));
#endif

#ifdef MMREC_COUNTS_BY_REPLACEMENT
// These replace glibc's functions for the whole program including shared libraries. operator new
// calls them too.
extern "C" {
void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* block, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);

void* malloc(size_t bytes) noexcept {
  note_allocation();
  return __libc_malloc(bytes);
}
void* calloc(size_t count, size_t bytes) noexcept {
  note_allocation();
  return __libc_calloc(count, bytes);
}
void* realloc(void* block, size_t bytes) noexcept {
  note_allocation();
  return __libc_realloc(block, bytes);
}
void* aligned_alloc(size_t alignment, size_t bytes) noexcept {
  note_allocation();
  return __libc_memalign(alignment, bytes);
}
int posix_memalign(void** block, size_t alignment, size_t bytes) noexcept {
  note_allocation();
  *block = __libc_memalign(alignment, bytes);
  return *block ? 0 : ENOMEM;
}
}
#endif

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using test::contents;
using test::small_config;
using test::TemporaryDirectory;
using test::values;

/// Returns how often body() and its worker threads allocated memory; nullopt if that cannot be
/// counted.
std::optional<int> allocations(const std::function<void()>& body) {
#if defined(MMREC_COUNTS_BY_HOOK)
  static const int installed = __sanitizer_install_malloc_and_free_hooks(
      [](const volatile void*, size_t) { note_allocation(); }, [](const volatile void*) {});
  if (!installed) return std::nullopt;
#elif !defined(MMREC_COUNTS_BY_REPLACEMENT)
  return std::nullopt;
#endif
  allocation_count = 0;
  counting = true;
  body();
  counting = false;
  return allocation_count.load();
}

std::vector<int32_t> random_tokens(size_t count, int vocabulary) {
  Random random;
  std::vector<int32_t> tokens;
  while (tokens.size() < count) tokens.push_back(random.below(vocabulary));
  return tokens;
}

// ---------------------------------------------------------------------------------------- one step

void check_allocations(int B, const OptimizerSettings& settings) {
  constexpr int T = 64, kVocabulary = 300;
  Config config = small_config(kVocabulary);
  config.dim = 64;
  Parameters parameters(config);
  parameters.initialise(1);
  const WindowSet windows(random_tokens(2 * B * T + 1, kVocabulary), T, "the text");
  Model model(config, kVocabulary, parameters, T, B, Model::Mode::kTraining, 1);
  Evaluation evaluation(config, kVocabulary, parameters, 1,
                        WindowSet(random_tokens(11 * T + 1, kVocabulary), T, "the text"), 0, T / 2);
  std::vector<int32_t> ids(T * B), targets(T * B);

  for (const int threads : {1, 2}) {
    const ScopedThreads scoped(threads);
    // two steps per epoch: the third one begins a new order
    BatchOrder order(windows.count(), B, 1);
    const auto step = [&](int64_t number) {
      windows.fill(order.batch(number).windows, IntTensor(ids.data(), {T, B}),
                   IntTensor(targets.data(), {T, B}));
      model.draw(static_cast<uint64_t>(number));
      model.clear_state();
      parameters.clear_gradients();
      model.loss_and_gradients(IntTensor(ids.data(), {T, B}), IntTensor(targets.data(), {T, B}),
                               {.p = 0.1f, .seed = 1, .step = static_cast<uint64_t>(number)});
      optimizer_step(parameters, settings, 1e-3, number);
    };
    step(1);
    step(2);
    evaluation.run();
    evaluation.mean_loss_in_pieces();
    EXPECT_EQ(allocations([&] {
                step(3);
                step(4);
              }),
              0)
        << "training, " << threads << " threads, " << B << " sequences";
    EXPECT_EQ(allocations([&] {
                evaluation.run();
                evaluation.mean_loss_in_pieces();
              }),
              0)
        << "evaluation, " << threads << " threads, " << B << " sequences";
  }
}

TEST(TrainingStep, AllocatesNothing) {
  ASSERT_NE(allocations([] { ::operator delete(::operator new(100)); }), 0)
      << "allocations are not counted";
  if (!allocations([] {}))
    GTEST_SKIP() << "there is no way to count allocations with this C library";
  for (const int B : {2, 4}) check_allocations(B, {});
  check_allocations(2, {.algorithm = "muon"});
}

TEST(OptimizerStep, ClipsTheGlobalNorm) {
  Parameters parameters(small_config(19));
  const Tensor gradients = parameters.gradients(), moments = parameters.first_moments();
  const Tensor wide = parameters.gradient("blocks.1.ffn.0.weight"),
               narrow = parameters.gradient("norm.weight");
  const auto first_moment_after_step = [&](float clip) {
    parameters.initialise(1);
    wide.data()[5] = 3;
    narrow.data()[7] = 4;
    OptimizerSettings settings;
    settings.clip = clip;
    EXPECT_FLOAT_EQ(static_cast<float>(optimizer_step(parameters, settings, 1e-3, 1)), 5)
        << "the norm before clipping";
    return moments.data()[wide.data() + 5 - gradients.data()];
  };
  const float share = 1 - OptimizerSettings{}.beta1;
  EXPECT_FLOAT_EQ(first_moment_after_step(1), share * 3 / 5);
  EXPECT_FLOAT_EQ(first_moment_after_step(2), share * 3 * 2 / 5);
  EXPECT_FLOAT_EQ(first_moment_after_step(6), share * 3) << "a norm below the limit";
  EXPECT_FLOAT_EQ(first_moment_after_step(0), share * 3) << "no limit";
}

TEST(OptimizerStep, ComputesInFloat32) {
  MMREC_NEEDS_BF16();
  const auto weights_after_step = [](Precision precision) {
    Parameters parameters(small_config(19));
    parameters.initialise(1);
    Random random;
    for (int64_t i = 0; i < parameters.gradients().count(); ++i)
      parameters.gradients().data()[i] = random.uniform(-1, 1);
    const ScopedPrecision of_thread(precision);
    optimizer_step(parameters, {.algorithm = "muon"}, 1e-3, 1);
    return values(parameters.weights());
  };
  EXPECT_EQ(weights_after_step(Precision::kBf16), weights_after_step(Precision::kFloat32));
}

// Muon steps the hidden matrices, each part of one by itself; AdamW all else.
TEST(OptimizerStep, MuonStepsEachHiddenMatrix) {
  Config config = small_config(19);
  config.memory = "learned";
  Parameters parameters(config), by_hand(config);
  Random random;
  for (Parameters* both : {&parameters, &by_hand}) both->initialise(1);
  for (const Parameter& parameter : parameters.table())
    for (int64_t i = parameter.offset; i < parameter.offset + parameter.count; ++i)
      parameters.gradients().data()[i] = by_hand.gradients().data()[i] = random.uniform(-1, 1);
  const OptimizerSettings settings{.algorithm = "muon", .clip = 0};
  optimizer_step(parameters, settings, settings.learning_rate / 2, 1);

  std::set<std::string> matrices;
  const ops::Muon muon{.learning_rate = settings.muon_learning_rate / 2,
                       .decay = settings.muon_decay};
  for (const Parameter& parameter : by_hand.table()) {
    const Tensor w = by_hand.weight(parameter.name), g = by_hand.gradient(parameter.name),
                 m = by_hand.view(by_hand.first_moments(), parameter);
    const std::string& name = parameter.name;
    const bool is_matrix =
        w.rank() == 2 && name != "embedding.weight" && name.find("memory") == name.npos;
    const int down = name.ends_with("W_fused.weight") ? 6 : 1,
              across = name.ends_with("mdi.W_g.weight") ? 2 : 1;
    for (int part = 0; is_matrix && part < down * across; ++part) {
      const auto part_of = [&](const Tensor& all) {
        const int rows = all.size(0) / down, columns = all.size(1) / across;
        return across > 1 ? all.columns(part * columns, (part + 1) * columns)
                          : all.rows(part * rows, (part + 1) * rows);
      };
      ops::muon(muon, part_of(g), part_of(w), part_of(m));
    }
    if (!is_matrix) {
      const int n = static_cast<int>(w.count());
      const Tensor v = by_hand.view(by_hand.second_moments(), parameter);
      const auto flat = [&](const Tensor& all) { return Tensor(all.data(), {n}); };
      ops::adamw({.learning_rate = settings.learning_rate / 2}, flat(g), flat(w), flat(m), flat(v));
    }
  }
  EXPECT_EQ(values(parameters.weights()), values(by_hand.weights()));
  EXPECT_EQ(values(parameters.first_moments()), values(by_hand.first_moments()));
  EXPECT_EQ(values(parameters.second_moments()), values(by_hand.second_moments()));
}

// With muon_every they take turns; the others only gather momentum.
TEST(OptimizerStep, MuonStepsTakeTurns) {
  constexpr int kEvery = 3;
  const Config config = small_config(19);
  Parameters parameters(config), by_hand(config);
  for (Parameters* both : {&parameters, &by_hand}) both->initialise(1);
  const OptimizerSettings settings{.algorithm = "muon", .muon_every = kEvery, .clip = 0};
  const ops::Muon muon{.learning_rate = kEvery * settings.muon_learning_rate,
                       .decay = settings.muon_decay};
  Random random;
  std::vector<int> turns(by_hand.hidden_matrices().size());
  for (int step = 1; step <= 2 * kEvery; ++step) {
    for (int i = 0; i < parameters.gradients().size(0); ++i)
      parameters.gradients().data()[i] = by_hand.gradients().data()[i] = random.uniform(-1, 1);
    optimizer_step(parameters, settings, settings.learning_rate, step);
    int in_this_step = 0;
    for (size_t i = 0; i < turns.size(); ++i) {
      const Parameters::HiddenMatrix& want = by_hand.hidden_matrices()[i];
      if ((static_cast<int>(i) + step) % kEvery == 0) {
        ++turns[i];
        ++in_this_step;
        ops::muon(muon, want.gradient, want.weight, want.first_moment);
      } else {
        ops::muon_momentum(muon, want.gradient, want.first_moment);
      }
    }
    for (size_t i = 0; i < turns.size(); ++i) {
      const Parameters::HiddenMatrix &is = parameters.hidden_matrices()[i],
                                     &want = by_hand.hidden_matrices()[i];
      EXPECT_EQ(values(is.weight), values(want.weight)) << "matrix " << i << ", step " << step;
      EXPECT_EQ(values(is.first_moment), values(want.first_moment));
    }
    EXPECT_NEAR(in_this_step, static_cast<double>(turns.size()) / kEvery, 1);
  }
  EXPECT_EQ(turns, std::vector<int>(turns.size(), 2));
}

// Processes that share the work take the same steps as one that does all of it.
TEST(OptimizerStep, IsTheSameInShares) {
  Config config = small_config(19);
  config.memory = "learned";
  for (const auto& [algorithm, every] : {std::pair("adamw", 1), {"muon", 1}, {"muon", 2}})
    for (const int count : {1, 2, 3, 7}) {
      SCOPED_TRACE(testing::Message() << algorithm << ", every " << every << ", " << count);
      const OptimizerSettings settings{
          .algorithm = algorithm, .muon_every = every, .average = 0.9f};
      Parameters whole(config, Parameters::Arrays::kAveraged);
      const std::vector<int64_t> begins = optimizer_shares(whole.table(), algorithm, count);
      ASSERT_EQ(std::ssize(begins), count + 1);
      EXPECT_EQ(begins.back(), whole.weights().count());
      std::vector<Parameters> shares;
      for (size_t i = 0; i + 1 < begins.size(); ++i) {
        const Parameters::Range range = {static_cast<int>(begins[i]),
                                         static_cast<int>(begins[i + 1])};
        shares.emplace_back(config, Parameters::Arrays::kAveraged, range);
        EXPECT_EQ(shares.back().first_moments().count(), range.second - range.first);
        EXPECT_EQ(shares.back().second_moments().count(), range.second - range.first);
      }
      whole.initialise(1);
      for (Parameters& share : shares) share.initialise(1);
      Random random;
      for (int step = 1; step <= 3; ++step) {
        for (const Parameter& parameter : whole.table())
          for (float& gradient : contiguous_span(whole.gradient(parameter.name)))
            gradient = random.uniform(-1, 1);
        const double norm = optimizer_step(whole, settings, 1e-3, step);
        for (size_t i = 0; i < shares.size(); ++i) {
          Parameters& share = shares[i];
          copy_values(whole.gradients(), share.gradients());
          const auto get_others = [&] {
            const auto [begin, end] = share.moments_range();
            const std::vector<float> own = values(share.weights().rows(begin, end));
            const std::vector<float> want = values(whole.weights().rows(begin, end));
            EXPECT_EQ(own, want) << "of share " << i << " after step " << step;
            copy_values(whole.weights(), share.weights());
          };
          EXPECT_EQ(optimizer_step(share, settings, 1e-3, step, get_others), norm);
          EXPECT_EQ(values(share.average()), values(whole.average()));
        }
      }
    }
}

// Of 1 + t values, the first steps' average forgets nine tenths of the older ones; later ones keep
// --average of it.
TEST(OptimizerStep, AveragesTheWeights) {
  Parameters parameters(small_config(19), Parameters::Arrays::kAveraged);
  parameters.initialise(1);
  EXPECT_EQ(values(parameters.average()), values(parameters.weights()));
  const OptimizerSettings settings{.average = 0.75f};
  double average = parameters.weights().data()[0];
  for (int step = 1; step <= 60; ++step) {
    std::fill_n(parameters.gradients().data(), 16, 1.f);
    optimizer_step(parameters, settings, 0.1, step);
    const double share = std::max(0.25, 9. / (10 + step));
    average += share * (parameters.weights().data()[0] - average);
    EXPECT_NEAR(parameters.average().data()[0], average, 1e-5) << step;
  }
  EXPECT_NE(parameters.average().data()[0], parameters.weights().data()[0]);
}

TEST(OptimizerStep, ChangesNothingIfAGradientIsNotFinite) {
  Parameters parameters(small_config(19));
  for (const float bad : {std::nanf(""), INFINITY}) {
    parameters.initialise(1);
    const std::vector<float> before = values(parameters.weights());
    parameters.gradient("norm.weight").data()[3] = 1;
    EXPECT_EQ(first_non_finite(parameters, parameters.gradients()), "");
    parameters.gradient("blocks.1.W_g.bias").data()[31] = bad;
    EXPECT_FALSE(std::isfinite(optimizer_step(parameters, OptimizerSettings{}, 1e-3, 1)));
    EXPECT_EQ(values(parameters.weights()), before);
    EXPECT_EQ(values(parameters.first_moments()), std::vector<float>(before.size()));
    EXPECT_EQ(first_non_finite(parameters, parameters.gradients()), "blocks.1.W_g.bias");
  }
}

TEST(Evaluation, SumsOverWindowsThatStartFromAZeroState) {
  constexpr int T = 7, kVocabulary = 19, kWindows = 11;  // a full batch and a remainder
  const ScopedThreads one_thread(1);
  const Config config = small_config(kVocabulary);
  Parameters parameters(config);
  parameters.initialise(1);
  const WindowSet windows(random_tokens(kWindows * T + 3, kVocabulary), T, "the text");
  Evaluation evaluation(config, kVocabulary, parameters, /*seed=*/9, windows);
  EXPECT_EQ(evaluation.tokens(), kWindows * T);

  Model model(config, kVocabulary, parameters, T, 1, Model::Mode::kInference, 9);
  const auto expect_sum_over_windows = [&] {
    std::vector<int32_t> ids(T), targets(T);
    LossSum want;
    for (int window = 0; window < kWindows; ++window) {
      windows.fill(std::span(&window, 1), IntTensor(ids.data(), {T, 1}),
                   IntTensor(targets.data(), {T, 1}));
      model.clear_state();
      const LossSum sum =
          model.loss(IntTensor(ids.data(), {T, 1}), IntTensor(targets.data(), {T, 1}));
      want += sum;
    }
    const LossSum got = evaluation.run();
    EXPECT_NEAR(got.loss, want.loss, 1e-5 * want.loss);
    EXPECT_EQ(got.correct, want.correct);
    EXPECT_EQ(got.tokens, want.tokens);
    return got.loss;
  };
  const double before = expect_sum_over_windows();
  parameters.initialise(2);
  EXPECT_NE(expect_sum_over_windows(), before) << "the parameters as they are now";

  // About every fourth of the eleven windows.
  Evaluation limited(config, kVocabulary, parameters, 9, windows, /*most_tokens=*/4 * T - 1);
  EXPECT_EQ(limited.tokens(), 3 * T);
  double want = 0;
  for (const int window : {0, 3, 7}) {
    std::vector<int32_t> ids(T), targets(T);
    windows.fill(std::span(&window, 1), IntTensor(ids.data(), {T, 1}),
                 IntTensor(targets.data(), {T, 1}));
    model.clear_state();
    want += model.loss(IntTensor(ids.data(), {T, 1}), IntTensor(targets.data(), {T, 1})).loss;
  }
  EXPECT_NEAR(limited.run().loss, want, 1e-5 * want);
  EXPECT_EQ(Evaluation(config, kVocabulary, parameters, 9, windows, 1).tokens(), T)
      << "one at least";

  Evaluation whole(config, kVocabulary, parameters, 9, windows);
  const LossSum of_windows = whole.run();
  EXPECT_EQ(whole.finite_tokens(), T);
  // The same tokens in pieces. An incomplete piece is extended backwards.
  for (const int piece : {1, 5, T / 2, T - 1}) {
    double want = 0;
    for (int window = 0; window < kWindows; ++window) {
      std::vector<int32_t> ids(T), targets(T);
      windows.fill(std::span(&window, 1), IntTensor(ids.data(), {T, 1}),
                   IntTensor(targets.data(), {T, 1}));
      Model shorter(config, kVocabulary, parameters, piece, 1, Model::Mode::kInference, 9);
      for (int t = 0; t < T; t += piece) {
        const int begin = std::min(t, T - piece);
        shorter.clear_state();
        shorter.loss(IntTensor(&ids[begin], {piece, 1}), IntTensor(&targets[begin], {piece, 1}));
        for (int i = t - begin; i < piece; ++i) want += shorter.token_loss().data()[i];
      }
    }
    want /= kWindows * T;
    Evaluation cut(config, kVocabulary, parameters, 9, windows, 0, piece);
    EXPECT_EQ(cut.run().loss, of_windows.loss);
    EXPECT_NEAR(cut.mean_loss_in_pieces(), want, 1e-5 * want) << piece;
    EXPECT_EQ(cut.run().loss, of_windows.loss) << "nothing of the pieces is left";
    {
      const std::atomic<int> asked{1};
      const Interruptible giving_up(asked);
      EXPECT_THROW(cut.mean_loss_in_pieces(), Interrupted);
    }
    EXPECT_NEAR(cut.mean_loss_in_pieces(), want, 1e-5 * want) << "after a stop";
  }
  EXPECT_EQ(Evaluation(config, kVocabulary, parameters, 9, windows, 1000).tokens(), kWindows * T);
}

// -------------------------------------------------------------------------------------------- runs

using Training = test::SmallRuns;

TEST_F(Training, LossFallsAndTheRunLeavesItsFiles) {
  TrainOptions run = options("run");
  run.steps = 80;
  run.save_every = 50;
  run.sample_tokens = 20;
  train(run);

  const std::vector<MetricsRow> training = rows(run, "train");
  ASSERT_EQ(training.size(), 80u);
  for (size_t i = 0; i < training.size(); ++i) {
    EXPECT_EQ(training[i].step, static_cast<int64_t>(i) + 1);
    EXPECT_EQ(training[i].tokens, (static_cast<int64_t>(i) + 1) * 4 * 32);
    EXPECT_GT(training[i].grad_norm, 0);
    EXPECT_GT(training[i].tokens_per_second, 0);
  }
  EXPECT_FLOAT_EQ(static_cast<float>(training[0].lr), 3e-4f);
  EXPECT_FLOAT_EQ(static_cast<float>(training[5].lr), 3e-3f);
  EXPECT_FLOAT_EQ(static_cast<float>(training[79].lr), 3e-4f);
  const Checkpoint best(run.out);
  EXPECT_NEAR(training.front().loss, std::log(best.tokenizer.size()), 0.7)
      << "at first all characters are about equally probable";
  EXPECT_LT(training.back().loss, 3);
  EXPECT_GT(training.back().accuracy, training.front().accuracy);

  EXPECT_EQ(entries(run.out), (std::set<std::string>{"best_model", "checkpoint_step_000050",
                                                     "config.json", "final_checkpoint", "latest",
                                                     "metrics.jsonl", "training_output.log"}));
  for (const char* checkpoint : {"best_model", "checkpoint_step_000050", "final_checkpoint"})
    EXPECT_EQ(entries(run.out / checkpoint),
              (std::set<std::string>{"config.json", "model.safetensors", "optimizer.safetensors",
                                     "state.json", "tokenizer.json"}))
        << checkpoint;
  EXPECT_EQ(read_file(run.out / "latest"), "final_checkpoint\n");
  EXPECT_EQ(load_config((run.out / "config.json").string()),
            load_config((run.out / "final_checkpoint/config.json").string()));
  const std::string log = read_file(run.out / "training_output.log");
  for (const char* part : {"step 1/80", "step 80/80", "epoch 1/", "validation loss",
                           "trained 80 steps", "sample of generated text:"})
    EXPECT_NE(log.find(part), log.npos) << part << " is not in the log";
}

/// Memory, order, shift and masks of a step depend only on the seed and its number. Each window
/// starts from a zero state.
TEST_F(Training, StepsEqualTheirParts) {
  TrainOptions run = options("run");
  run.batch = 64;  // two steps per epoch
  run.steps = 3;
  train(run);

  const Checkpoint final(run.out / "final_checkpoint");
  const Config& config = final.config;
  const WindowSet windows(
      final.tokenizer.encode(
          load_corpus(run.data, parse_validation_split(run.validation_split)).train, "test"),
      run.sequence, "the text");
  BatchOrder order(windows.count(), run.batch, run.seed);
  Parameters parameters(config), result(config);
  parameters.initialise(run.seed);
  Model model(config, model_vocabulary(config, final.tokenizer), parameters, run.sequence,
              run.batch, Model::Mode::kTraining, run.seed);
  std::vector<int32_t> room(2 * run.sequence * run.batch);
  const IntTensor ids(room.data(), {run.sequence, run.batch}),
      targets(room.data() + ids.count(), {run.sequence, run.batch});
  for (const MetricsRow& row : rows(run, "train")) {
    const uint64_t step = static_cast<uint64_t>(row.step);
    const Batch batch = order.batch(row.step);
    EXPECT_EQ(batch.epoch, row.step <= 2 ? 1 : 2);
    windows.fill(batch.windows, ids, targets, windows.shift(run.seed, batch.epoch));
    model.draw(step);
    model.clear_state();
    parameters.clear_gradients();
    const LossSum sum =
        model.loss_and_gradients(ids, targets, {.p = run.dropout, .seed = run.seed, .step = step});
    EXPECT_EQ(sum.loss / static_cast<double>(sum.tokens), row.loss) << "step " << step;
    EXPECT_EQ(optimizer_step(parameters, run.optimizer, row.lr, row.step), row.grad_norm)
        << "step " << step;
  }
  final.read_weights(result);
  EXPECT_EQ(values(parameters.weights()), values(result.weights()));
}

TEST_F(Training, TheSameSeedGivesTheSameBitsWithAnyNumberOfThreads) {
  const auto result = [&](const std::string& out, uint64_t seed, int threads) {
    const ScopedThreads scoped(threads);
    TrainOptions run = options(out);
    run.seed = seed;
    run.steps = 10;
    train(run);
    return std::pair(read_file(run.out / "final_checkpoint/model.safetensors"),
                     read_file(run.out / "final_checkpoint/optimizer.safetensors"));
  };
  const auto first = result("first", 42, 1);
  EXPECT_TRUE(result("again", 42, 1) == first);
  EXPECT_TRUE(result("two threads", 42, 2) == first);
  const auto other = result("another seed", 43, 1);
  EXPECT_FALSE(other.first == first.first);
  EXPECT_FALSE(other.second == first.second);
}

TEST_F(Training, TracesTheThirdStepOfACall) {
  const auto traced = [&](const TrainOptions& run) {
    const test::TraceFile file(read_file(run.trace));
    file.expect_consistent();
    EXPECT_FALSE(file.of("kernel").empty());
    return file.of("step").at(0).name;
  };
  const TrainOptions plain = options("plain");
  train(plain);
  TrainOptions run = options("traced");
  run.trace = directory_ / "step.json";
  train(run);
  EXPECT_EQ(traced(run), "step 3");
  for (const char* file : {"model.safetensors", "optimizer.safetensors"})
    EXPECT_EQ(read_file(run.out / "final_checkpoint" / file),
              read_file(plain.out / "final_checkpoint" / file))
        << "a trace must not change the weights";
  const std::string log = read_file(run.out / "training_output.log");
  EXPECT_NE(log.find("trace of step 3: " + run.trace), log.npos) << log;

  resume_training(run.out, [&](TrainOptions& again) {
    again.quiet = true;
    again.steps = 9;
    again.trace = run.trace;
  });
  EXPECT_EQ(traced(run), "step 7") << "the third after the checkpoint of step 4";
  TrainOptions brief = options("brief");
  brief.steps = 2;
  brief.trace = run.trace;
  train(brief);
  EXPECT_EQ(traced(brief), "step 2") << "the last of a shorter call";
  resume_training(brief.out, [&](TrainOptions& again) {
    again.quiet = true;
    again.trace = directory_ / "none.json";
  });
  EXPECT_FALSE(exists(directory_ / "none.json"));
  EXPECT_NE(read_file(brief.out / "training_output.log").find("no step was left"),
            std::string::npos);

  TrainOptions mistyped = options("mistyped");
  mistyped.trace = mistyped.data;
  expect_error<UsageError>([&] { train(mistyped); }, {"--trace", "play.txt", "another kind"});
  mistyped.trace = directory_ / "no_folder/step.json";
  expect_error([&] { train(mistyped); }, {"no_folder"});
  EXPECT_FALSE(exists(mistyped.out));
}

TEST_F(Training, KeepsTheNewestCheckpoints) {
  TrainOptions run = options("run");
  run.steps = 7;
  run.save_every = 2;
  run.keep = 2;
  train(run);
  EXPECT_EQ(entries(run.out),
            (std::set<std::string>{"best_model", "checkpoint_step_000004", "checkpoint_step_000006",
                                   "config.json", "final_checkpoint", "latest", "metrics.jsonl",
                                   "training_output.log"}));
  EXPECT_EQ(Checkpoint(run.out / "checkpoint_step_000004").state.step, 4);
  EXPECT_EQ(Checkpoint(run.out / "checkpoint_step_000006").state.step, 6);
  EXPECT_EQ(Checkpoint(run.out / "final_checkpoint").state.step, 7);

  // A file with a checkpoint's name is not a checkpoint.
  const fs::path other = run.out / "checkpoint_step_000099";
  std::ofstream(other) << "text";
  resume_training(run.out, [](TrainOptions& now) {
    now.steps = 9;
    now.quiet = true;
  });
  EXPECT_EQ(read_file(other), "text");
  EXPECT_EQ(Checkpoint(run.out / "checkpoint_step_000008").state.step, 8);
}

TEST_F(Training, ValidatesAndSamplesAtTheRequestedSteps) {
  TrainOptions run = options("run");
  run.steps = 8;
  run.eval_every = 3;
  run.sample_every = 4;
  run.sample_tokens = 5;
  train(run);
  std::vector<int64_t> validated;
  for (const MetricsRow& row : rows(run, "val")) validated.push_back(row.step);
  EXPECT_EQ(validated, (std::vector<int64_t>{3, 6, 8})) << "and at the end";
  const std::string log = read_file(run.out / "training_output.log");
  for (const char* part : {"step 3/8 | validation loss", "epoch 1/1: train loss",
                           "sample of generated text after step 4:", "after step 8:", "text:\n"})
    EXPECT_NE(log.find(part), log.npos) << part << " is not in: " << log;
  EXPECT_EQ(log.find("after step 3:"), log.npos);

  // Neither changes the run.
  TrainOptions plain = options("plain");
  plain.steps = 8;
  train(plain);
  EXPECT_EQ(read_file(run.out / "final_checkpoint/model.safetensors"),
            read_file(plain.out / "final_checkpoint/model.safetensors"));
}

/// The validation text has no character of the training text, so its loss is best after the first
/// epoch.
TEST_F(Training, StopsEarlyAndKeepsTheBestModel) {
  TrainOptions run = options("run");
  fs::create_directory(directory_ / "texts");
  std::string train_text, validation_text;
  for (int i = 0; i < 200; ++i)
    train_text += i % 3 ? "ab" : "ba", validation_text += i % 3 ? "yz" : "zy";
  std::ofstream(directory_ / "texts/train.txt") << train_text;
  std::ofstream(directory_ / "texts/val.txt") << validation_text;
  run.data = (directory_ / "texts").string();
  run.steps = 0;
  run.epochs = 6;
  run.patience = 2;
  train(run);

  const std::vector<MetricsRow> validation = rows(run, "val");
  ASSERT_EQ(validation.size(), 3u) << "patience";
  EXPECT_LT(validation[0].loss, validation[1].loss);
  EXPECT_LT(validation[0].loss, validation[2].loss);
  const Checkpoint best(run.out), final(run.out / "final_checkpoint");
  EXPECT_EQ(best.folder, run.out / "best_model");
  EXPECT_EQ(best.state.step, validation[0].step);
  EXPECT_EQ(best.state.validation_loss, validation[0].loss);
  EXPECT_EQ(final.state.step, validation[2].step);
  EXPECT_EQ(final.state.validation_loss, validation[2].loss);
  EXPECT_EQ(validation_loss(run, run.out / "best_model"), validation[0].loss);
  EXPECT_EQ(validation_loss(run, run.out / "final_checkpoint"), validation[2].loss);
  EXPECT_NE(read_file(run.out / "training_output.log").find("stopped early"), std::string::npos);

  run.out = directory_ / "without patience";
  run.patience = 0;
  train(run);
  EXPECT_EQ(rows(run, "val").size(), 6u);
}

TEST_F(Training, EpochsAndStepsBeyondThem) {
  TrainOptions run = options("epochs");
  run.batch = 32;
  run.steps = 0;
  run.epochs = 2;
  train(run);
  const std::vector<MetricsRow> two_epochs = rows(run, "train");
  const int64_t per_epoch = static_cast<int64_t>(two_epochs.size()) / 2;
  ASSERT_GT(per_epoch, 1);
  EXPECT_EQ(two_epochs.back().step, 2 * per_epoch);

  run.out = directory_ / "steps";
  run.steps = 2 * per_epoch + 1;
  train(run);
  const std::vector<MetricsRow> training = rows(run, "train"), validation = rows(run, "val");
  ASSERT_EQ(training.size(), static_cast<size_t>(run.steps));
  for (const MetricsRow& row : training) EXPECT_EQ(row.epoch, (row.step - 1) / per_epoch + 1);
  ASSERT_EQ(validation.size(), 3u) << "the last epoch is not a whole one";
  EXPECT_EQ(validation.back().step, run.steps);
}

TEST_F(Training, TimeCountsFromTheStartOfTheCommand) {
  TrainOptions run = options("run");
  run.time = "0.2s";
  std::this_thread::sleep_for(std::chrono::milliseconds(250));
  train(run);
  EXPECT_EQ(rows(run, "train").size(), 1u);
}

TEST_F(Training, BestModelIsTheLastWithoutAValidationText) {
  TrainOptions run = options("run");
  run.validation_split = "0";
  train(run);
  EXPECT_TRUE(rows(run, "val").empty());
  EXPECT_EQ(read_file(run.out / "best_model/model.safetensors"),
            read_file(run.out / "final_checkpoint/model.safetensors"));
  EXPECT_TRUE(std::isnan(Checkpoint(run.out).state.validation_loss));
}

TEST(ValidationTokens, AreATwentiethOfWhatIsTrainedOnBetweenTwoWithinBounds) {
  TrainOptions options;
  options.batch = 6;
  options.accumulate = 2;
  options.sequence = 128;
  options.steps = 2000;
  EXPECT_EQ(validation_tokens(options, 1000), 1000 * 1536 / 40) << "the length of an epoch";
  options.eval_every = 500;
  EXPECT_EQ(validation_tokens(options, 1000), 500 * 1536 / 40);
  options.eval_every = 10;
  EXPECT_EQ(validation_tokens(options, 1000), 10'000);
  options.eval_every = 1'000'000;
  EXPECT_EQ(validation_tokens(options, 1000), 2000 * 1536 / 40) << "at the end of the run";
  options.steps = 1'000'000;
  EXPECT_EQ(validation_tokens(options, 1000), 500'000);
  for (const int64_t asked : {0, 7}) {
    options.validation_tokens = asked;
    EXPECT_EQ(validation_tokens(options, 1000), asked);
  }
}

TEST(WarmupSteps, AreWhatTheRecipeSays) {
  TrainOptions options;
  for (const char* data : {"sample", "book.txt"}) {
    options.data = data;
    options.recipe = "documented";
    EXPECT_EQ(warmup_steps(options, 378), 100) << data;
    EXPECT_EQ(warmup_steps(options, 60), 100) << data;
    options.recipe = "text";
    EXPECT_EQ(warmup_steps(options, 50), 5) << data;
  }
  EXPECT_EQ(warmup_steps(options, 60), 6);
  EXPECT_EQ(warmup_steps(options, 3), 0);
  EXPECT_EQ(warmup_steps(options, 2000), 100);
  options.warmup = 70;
  EXPECT_EQ(warmup_steps(options, 60), 70);
}

TEST_F(Training, FolderThatIsNoRunIsNotChanged) {
  const std::vector<std::map<std::string, std::string>> folders = {
      {{"config.json", "x"}},       {{"config.json", "{\"port\": 80}"}, {"latest", "y"}},
      {{"metrics.jsonl", "{}\n"}},  {{"training_output.log", "mine"}},
      {{"train.tokens", "tokens"}}, {{"search.json", "{}"}}};
  for (size_t i = 0; i < folders.size(); ++i)
    for (const bool overwrite : {false, true}) {
      TrainOptions run = options(fmt::format("out{}", i));
      run.overwrite = overwrite;
      fs::create_directories(run.out);
      for (const auto& [name, content] : folders[i]) write_file_atomically(run.out / name, content);
      const auto before = contents(run.out);
      test::expect_error<UsageError>(
          [&] { train(run); },
          {"--out", run.out.string(), folders[i].begin()->first, "choose another"});
      EXPECT_EQ(contents(run.out), before);
    }
  fs::create_directory(directory_ / "nothing");
  test::expect_error([&] { resume_training(directory_ / "nothing", [](TrainOptions&) {}); },
                     {"nothing is not a run's folder", "config.json"});
}

/// A run that was stopped before its first step has a checkpoint of step 0 and could be resumed
/// from it.
TEST_F(Training, RunWithoutStepsDoesNotReplacePrevious) {
  TrainOptions run = options("run");
  run.steps = 3;
  train(run);
  const std::string weights = read_file(run.out / "final_checkpoint/model.safetensors");
  run.overwrite = true;
  run.seed = 9;
  train(run);
  for (const char* name : {"best_model", "final_checkpoint"}) fs::remove_all(run.out / name);
  fs::copy(run.out / "previous/final_checkpoint", run.out / "checkpoint_step_000000");
  train(run);
  EXPECT_EQ(read_file(run.out / "previous/final_checkpoint/model.safetensors"), weights);
  EXPECT_FALSE(fs::exists(run.out / "checkpoint_step_000000"));
}

TEST_F(Training, WarmUpIsPrintedAndSaved) {
  TrainOptions run = options("run");
  run.warmup = kAuto;
  run.recipe = "text";
  run.given = {"batch", "seq", "steps", "lr", "lr-min"};
  run.steps = 30;
  train(run);
  const std::string log = read_file(run.out / "training_output.log");
  EXPECT_NE(log.find("learning rate: warm-up of 3 steps to 3.00e-03, then down to 3.00e-04\n"),
            log.npos)
      << log;
  EXPECT_EQ(log.find("fills the run"), log.npos);
  EXPECT_EQ(Checkpoint(run.out).state.progress->options.warmup, 3);
  EXPECT_EQ(rows(run, "train")[3].lr, run.optimizer.learning_rate);
  // A longer run keeps the warm-up it began with.
  resume_training(run.out, [](TrainOptions& now) {
    now.quiet = true;
    now.steps = 300;
  });
  EXPECT_EQ(Checkpoint(run.out / "final_checkpoint").state.progress->options.warmup, 3);
  EXPECT_LT(rows(run, "train")[30].lr, run.optimizer.learning_rate);

  TrainOptions short_run = options("short");
  short_run.warmup = 4;
  train(short_run);
  EXPECT_NE(read_file(short_run.out / "training_output.log")
                .find("the warm-up of 4 steps fills the run of 4"),
            log.npos);
  ASSERT_FALSE(test::warnings_of(read_run(short_run.out)).empty());
  EXPECT_NE(text_of(read_run(short_run.out).findings, "warm-up")
                .find("the warm-up of 4 steps fills the run of 4"),
            log.npos);
  EXPECT_EQ(text_of(read_run(run.out).findings, "warm-up"), "");
}

/// Validation windows are longer than training windows.
TEST_F(Training, TheReportComparesEqualWindows) {
  TrainOptions run = options("run");
  run.warmup = 1;
  train(run);
  const std::vector<MetricsRow> validations = rows(run, "val");
  ASSERT_EQ(validations.size(), 1u);
  TrainOptions equal = run;
  equal.out = directory_ / "equal";
  equal.validation_sequence = equal.sequence;
  train(equal);
  EXPECT_TRUE(std::isnan(rows(equal, "val").front().loss_in_trained_window));
  const double want = rows(equal, "val").front().loss;
  EXPECT_NEAR(validations[0].loss_in_trained_window, want, 1e-5 * want) << "the same tokens";

  // Metrics of an earlier version, which lack that figure.
  const fs::path metrics = run.out / "metrics.jsonl";
  std::string text;
  std::istringstream lines(read_file(metrics));
  for (std::string line; std::getline(lines, line);) {
    nlohmann::json row = nlohmann::json::parse(line);
    row.erase("loss_in_trained_window");
    if (row["split"] == "val") row["loss"] = 50;
    text += row.dump() + "\n";
  }
  write_file_atomically(metrics, text);
  const std::vector<std::string> warnings = test::warnings_of(read_run(run.out));
  ASSERT_EQ(warnings.size(), 1u);
  for (const char* part :
       {"50.0000 in windows of 64", "in windows of 32", "'evaluate --seq 32' compares"})
    EXPECT_NE(warnings[0].find(part), std::string::npos) << warnings[0];
}

// The recipe's windows, of which those of the validation are twice as long, are not worth a note.
TEST_F(Training, TheReportNotesUnequalWindows) {
  for (const auto& [tokens, is_noted] :
       {std::pair(16, true), {32, false}, {64, false}, {65, true}}) {
    TrainOptions run = options(fmt::format("run{}", tokens));
    run.validation_sequence = tokens;
    train(run);
    EXPECT_EQ(!text_of(read_run(run.out).findings, "unequal_windows").empty(), is_noted) << tokens;
  }
}

TEST_F(Training, EarlierRunIsReplacedOnlyOnRequest) {
  TrainOptions run = options("run");
  run.save_every = 4;
  train(run);
  std::ofstream(run.out / "notes.txt") << "mine";
  const auto before = contents(run.out);

  run.save_every = 3;
  run.seed = 43;
  test::expect_error<UsageError>([&] { train(run); }, {run.out.string(), "--overwrite"});
  EXPECT_EQ(contents(run.out), before);

  run.overwrite = true;
  train(run);
  EXPECT_FALSE(fs::exists(run.out / "checkpoint_step_000004")) << "of the earlier run";
  EXPECT_TRUE(fs::exists(run.out / "checkpoint_step_000003"));
  EXPECT_EQ(rows(run, "train").size(), 4u);
  EXPECT_EQ(read_file(run.out / "notes.txt"), "mine");
  EXPECT_TRUE(fs::exists(run.out / "previous" / "checkpoint_step_000004"))
      << "the earlier run is kept";
  EXPECT_NO_THROW(Checkpoint(run.out / "previous"));

  // A run that ended before its first checkpoint does not replace the one in `previous`.
  for (const char* name : {"best_model", "final_checkpoint", "checkpoint_step_000003", "latest"})
    fs::remove_all(run.out / name);
  train(run);
  EXPECT_TRUE(fs::exists(run.out / "previous" / "checkpoint_step_000004"));
  EXPECT_EQ(rows(run, "train").size(), 4u);
}

TEST_F(Training, StartsFromACheckpointsWeightsAndTokenizer) {
  TrainOptions first = options("first");
  first.steps = 20;
  train(first);
  const Checkpoint origin(first.out);

  // Another text with characters that the first one lacks; a learning rate too small to change the
  // weights.
  std::ofstream(directory_ / "other.txt")
      << read_file(first.data).substr(2000, 3000) << std::string(50, '#') << "\u20ac\u20ac\u00df";
  TrainOptions second = options("second");
  second.data = (directory_ / "other.txt").string();
  second.validation_split = "0";
  second.init = first.out.string();
  second.config = origin.config;
  second.optimizer.learning_rate = 1e-30f;
  second.minimum_rate = "1x";
  second.steps = 1;
  train(second);
  const Checkpoint kept(second.out / "final_checkpoint");
  EXPECT_EQ(kept.tokenizer, origin.tokenizer);
  EXPECT_EQ(kept.config, origin.config);
  EXPECT_EQ(read_file(second.out / "final_checkpoint/model.safetensors"),
            read_file(origin.folder / "model.safetensors"));
  EXPECT_EQ(kept.state.step, 1);
  const std::string log = read_file(second.out / "training_output.log");
  for (const char* part : {"53 of 3053 characters (1.74 %)",
                           "3 different ones, # U+0023 (50), € U+20AC (2), ß U+00DF (1)",
                           "--extend-vocab would add them", "step 20; 0 tokens added"})
    EXPECT_NE(log.find(part), log.npos) << part << " is not in: " << log;

  second.out = directory_ / "extended";
  second.extend_vocab = true;
  train(second);
  const Checkpoint extended(second.out / "final_checkpoint");
  const int known = origin.tokenizer.size();
  EXPECT_EQ(extended.tokenizer.size(), known + 3);
  EXPECT_EQ(extended.tokenizer.decode(known), "#");
  EXPECT_EQ(extended.tokenizer.decode(known + 1), "\u20ac");
  EXPECT_EQ(extended.config.vocab_size, padded_vocabulary(known + 3));
  Parameters before(origin.config), after(extended.config), drawn(extended.config);
  origin.read_weights(before);
  extended.read_weights(after);
  drawn.initialise(second.seed);
  for (const Parameter& parameter : before.table()) {
    if (parameter.name == "embedding.weight") continue;
    EXPECT_EQ(values(after.weight(parameter.name)), values(before.weight(parameter.name)))
        << parameter.name;
  }
  const auto rows_of = [](Parameters& parameters, int begin, int end) {
    return values(parameters.weight("embedding.weight").rows(begin, end));
  };
  EXPECT_EQ(rows_of(after, 0, known), rows_of(before, 0, known));
  EXPECT_EQ(rows_of(after, known, known + 3), rows_of(drawn, known, known + 3))
      << "new rows are drawn";
  EXPECT_EQ(read_file(second.out / "training_output.log").find("have no token"), std::string::npos);

  // Fine-tuning starts at the trained model's loss, not at that of an untrained one.
  TrainOptions third = options("third");
  third.init = (first.out / "final_checkpoint").string();
  third.config = origin.config;
  train(third);
  EXPECT_LT(rows(third, "train").front().loss, rows(first, "train").front().loss - 0.5);

  third.overwrite = true;
  third.config.layers = 3;
  test::expect_error<UsageError>([&] { train(third); }, {"another model", "layers 2 -> 3"});
  third.init = (directory_ / "missing").string();
  test::expect_error([&] { train(third); }, {"missing", "no such folder"});

  // A run that --overwrite moves away or deletes cannot be the start.
  third.config.layers = 2;
  fs::rename(first.out, third.out / "previous");
  const auto contents_before = contents(third.out);
  for (const char* inside : {"", "final_checkpoint", "previous", "previous/best_model"}) {
    third.init = (third.out / inside).string();
    test::expect_error<UsageError>([&] { train(third); },
                                   {"--init", "within --out", "another --out"});
  }
  EXPECT_EQ(contents(third.out), contents_before);
}

TEST_F(Training, AccumulatedBatchesTakeTheSameStepsAsLargerOnes) {
  TrainOptions whole = options("whole"), parts = options("parts");
  whole.dropout = parts.dropout = 0;
  whole.steps = parts.steps = 8;
  whole.batch = 8;
  parts.batch = 2;
  parts.accumulate = 4;
  train(whole);
  train(parts);
  const std::vector<MetricsRow> want = rows(whole, "train"), got = rows(parts, "train");
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_NEAR(got[i].loss, want[i].loss, 1e-4) << "step " << want[i].step;
    EXPECT_NEAR(got[i].grad_norm, want[i].grad_norm, 1e-3 * want[i].grad_norm)
        << "step " << want[i].step;
    EXPECT_EQ(got[i].tokens, want[i].tokens);
  }
}

TEST_F(Training, RefusesBeforeItWritesAnything) {
  const auto expect_refused = [&](std::initializer_list<std::string_view> mentions,
                                  const std::function<void(TrainOptions&)>& change) {
    TrainOptions run = options("run");
    change(run);
    test::expect_error<UsageError>([&] { train(run); }, mentions);
    EXPECT_FALSE(fs::exists(run.out));
  };
  expect_refused({"--seq"}, [](TrainOptions& run) { run.sequence = 6000; });
  expect_refused({"--batch"}, [](TrainOptions& run) { run.batch = 6000; });
  expect_refused({"--val-split 1"}, [](TrainOptions& run) { run.validation_split = "1"; });
  expect_refused({"heads"}, [](TrainOptions& run) { run.config.heads = 3; });
  expect_refused({"--lr inf"}, [](TrainOptions& run) { run.optimizer.learning_rate = INFINITY; });
  expect_refused({"--lr 0"}, [](TrainOptions& run) { run.optimizer.learning_rate = 0; });
  expect_refused({"--beta2 1"}, [](TrainOptions& run) { run.optimizer.beta2 = 0.9999999999f; });
  expect_refused({"--decay inf"}, [](TrainOptions& run) { run.optimizer.decay = INFINITY; });
  expect_refused({"--accumulate 0"}, [](TrainOptions& run) { run.accumulate = 0; });
  expect_refused({"--accumulate 2147483647"},
                 [](TrainOptions& run) { run.accumulate = INT32_MAX; });
  expect_refused({"--batch", "--accumulate"}, [](TrainOptions& run) { run.accumulate = 60; });
  expect_refused({"--carry 0"}, [](TrainOptions& run) { run.carry = 0; });
  expect_refused({"--carry", "walk of 1000"}, [](TrainOptions& run) { run.carry = 1000; });
  expect_refused({"--carry 4", "chunk_size 16"},
                 [](TrainOptions& run) { run.carry = 4, run.config.chunk_size = 16; });
  expect_refused({"--extend-vocab", "--init"}, [](TrainOptions& run) { run.extend_vocab = true; });
  expect_refused({"vocabulary of 2"}, [](TrainOptions& run) { run.vocabulary = 2; });
}

TEST_F(Training, StopsAtANonFiniteLoss) {
  TrainOptions run = options("run");
  run.optimizer.learning_rate = 1e30f;
  run.warmup = 0;
  test::expect_error([&] { train(run); }, {"step 2", "is not finite", "--lr"});
  const std::vector<MetricsRow> written = rows(run, "train");
  ASSERT_EQ(written.size(), 2u);
  EXPECT_TRUE(std::isfinite(written[0].loss));
  EXPECT_TRUE(std::isnan(written[1].loss));
  const std::vector<std::string> warnings = test::warnings_of(read_run(run.out));
  ASSERT_FALSE(warnings.empty());
  EXPECT_TRUE(warnings[0].starts_with("the loss is not finite at step 2 (1 of 2 rows)"));
  EXPECT_NE(read_file(run.out / "training_output.log").find("error: step 2"), std::string::npos);
  EXPECT_FALSE(fs::exists(run.out / "best_model"));
  EXPECT_FALSE(fs::exists(run.out / "final_checkpoint"));

  // An epoch of one step: the validation is the first to use the weights that this step has ruined.
  run.out = directory_ / "validation";
  run.batch = 160;
  test::expect_error([&] { train(run); },
                     {"step 1", "validation loss is not finite", "No checkpoint was written yet"});
  EXPECT_EQ(rows(run, "val").size(), 1u);
  EXPECT_FALSE(fs::exists(run.out / "best_model"));
}

TEST_F(Training, NamesANormThatIsNotFiniteThoughItsGradientsAre) {
  TrainOptions run = options("run");
  run.config.uboo = true;
  run.config.lambda_p = 1e30f;
  test::expect_error([&] { train(run); },
                     {"step 1", "of the gradients' squares is not finite", "norm inf"});
}

TEST_F(Training, NoCheckpointHasNonFiniteWeights) {
  TrainOptions run = options("run");
  run.save_every = 2;
  train(run);
  const auto spoil = [](TrainOptions& now) {
    now.quiet = true;
    now.steps = 20;
    now.save_every = 1;
    now.warmup = 0;
    now.optimizer.learning_rate = 3.3e38f;  // one step takes the weights beyond a float's range
    now.optimizer.decay = 1;
  };
  test::expect_error(
      [&] { resume_training(run.out, spoil); },
      {"step 5", "not finite", "not saved", "The last checkpoint is", "final_checkpoint"});
  for (const char* name :
       {"best_model", "final_checkpoint", "checkpoint_step_000002", "checkpoint_step_000004"})
    EXPECT_NO_THROW(Checkpoint(run.out / name)) << name;
  EXPECT_FALSE(fs::exists(run.out / "checkpoint_step_000005"));
}

// ------------------------------------------------------------------------------------- checkpoints

/// A checkpoint whose numbers are all different.
class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest()
      : tokenizer_({{'a', 5}, {'b', 4}, {U'é', 3}, {U'\U0001F600', 2}}),
        config_(small_config(8)),
        parameters_(config_) {
    config_.lambda_p = 0.25f;
    int64_t counter = 0;
    for (const Tensor& flat :
         {parameters_.weights(), parameters_.first_moments(), parameters_.second_moments()})
      for (int64_t i = 0; i < flat.count(); ++i)
        flat.data()[i] = 1.f / static_cast<float>(++counter);
  }

  void save(const fs::path& folder, const RunState& state = {}) const {
    save_checkpoint(folder, config_, tokenizer_, parameters_, state);
  }

  TemporaryDirectory directory_;
  Tokenizer tokenizer_;
  Config config_;
  Parameters parameters_;
};

constexpr const char* kCheckpointFiles[] = {"config.json", "tokenizer.json", "model.safetensors",
                                            "optimizer.safetensors", "state.json"};

TEST_F(CheckpointTest, RoundTrip) {
  save(directory_ / "c",
       {.step = 123, .tokens = 1'000'000'007, .seed = UINT64_MAX, .validation_loss = 1.0 / 3});
  const Checkpoint checkpoint(directory_ / "c");
  EXPECT_EQ(checkpoint.config, config_);
  EXPECT_EQ(checkpoint.tokenizer, tokenizer_);
  EXPECT_EQ(checkpoint.state.step, 123);
  EXPECT_EQ(checkpoint.state.tokens, 1'000'000'007);
  EXPECT_EQ(checkpoint.state.seed, UINT64_MAX);
  EXPECT_EQ(checkpoint.state.validation_loss, 1.0 / 3);

  Parameters weights(checkpoint.config);
  checkpoint.read_weights(weights);
  const SafetensorsFile moments(directory_ / "c/optimizer.safetensors");
  for (const Parameter& parameter : parameters_.table()) {
    EXPECT_EQ(values(weights.weight(parameter.name)), values(parameters_.weight(parameter.name)))
        << parameter.name;
    const Tensor room = weights.weight(parameter.name);
    moments.read("m." + parameter.name, room);
    EXPECT_EQ(values(room), values(parameters_.view(parameters_.first_moments(), parameter)))
        << parameter.name;
    moments.read("v." + parameter.name, room);
    EXPECT_EQ(values(room), values(parameters_.view(parameters_.second_moments(), parameter)))
        << parameter.name;
  }

  save(directory_ / "c", {.validation_loss = std::nan("")});
  EXPECT_TRUE(std::isnan(Checkpoint(directory_ / "c").state.validation_loss)) << "the newer one";
}

TEST_F(CheckpointTest, RunMeansBestModelElseFinalElseLatest) {
  const fs::path run = directory_ / "run";
  fs::create_directory(run);
  test::expect_error([&] { const Checkpoint none(run); }, {run.string(), "not a checkpoint"});
  save(run / "checkpoint_step_000001", {.step = 1});
  save(run / "checkpoint_step_000002", {.step = 2});
  write_file_atomically(run / "latest", "checkpoint_step_000002\n");
  EXPECT_EQ(Checkpoint(run).state.step, 2);
  save(run / "final_checkpoint", {.step = 3});
  EXPECT_EQ(Checkpoint(run).state.step, 3);
  save(run / "best_model", {.step = 4});
  EXPECT_EQ(Checkpoint(run).state.step, 4);
  EXPECT_EQ(Checkpoint(run / "checkpoint_step_000001").state.step, 1);
}

TEST_F(CheckpointTest, RefusesFoldersThatAreNoCheckpoint) {
  const fs::path file = directory_ / "file", missing = directory_ / "missing";
  std::ofstream(file) << "text";
  for (const fs::path& path : {file, missing, file / "below"})
    test::expect_error([&] { const Checkpoint none(path); }, {path.string(), "no such folder"});
}

TEST_F(CheckpointTest, RefusesMissingTruncatedAndAlteredFiles) {
  const fs::path folder = directory_ / "c";
  save(folder);
  EXPECT_NO_THROW(Checkpoint{folder});
  const auto expect_refused = [&](const char* name, const std::string& damage) {
    SCOPED_TRACE(std::string(name) + " " + damage);
    test::expect_error([&] { const Checkpoint damaged(folder); }, {folder.string(), name});
  };
  for (const std::string name : kCheckpointFiles) {
    const std::string good = read_file(folder / name);
    const auto put = [&](std::string_view content) {
      std::ofstream(folder / name, std::ios::binary) << content;
    };

    fs::remove(folder / name);
    if (name == "state.json")  // without it the folder is not a checkpoint
      test::expect_error([&] { const Checkpoint damaged(folder); },
                         {folder.string(), "not a checkpoint"});
    else
      expect_refused(name.c_str(), "missing");

    for (const size_t length : {size_t{0}, size_t{1}, good.size() / 2, good.size() - 2}) {
      put(std::string_view(good).substr(0, length));
      expect_refused(name.c_str(), fmt::format("of {} bytes", length));
    }
    // Every byte of the state, which no other file vouches for.
    for (size_t byte = 0; byte < good.size(); byte += name == "state.json" ? 1 : good.size() / 8) {
      std::string altered = good;
      altered[byte] ^= 1;
      put(altered);
      expect_refused(name.c_str(), fmt::format("with byte {} altered", byte));
    }
    put(good + " ");
    if (name != "state.json") expect_refused(name.c_str(), "with a byte more");
    put(good);
    EXPECT_NO_THROW(Checkpoint{folder});
  }
}

TEST_F(CheckpointTest, MayHoldWeightsOnly) {
  const fs::path folder = directory_ / "c";
  save(folder);
  EXPECT_TRUE(Checkpoint(folder).has_moments());
  nlohmann::json state = nlohmann::json::parse(read_file(folder / "state.json"));
  state["files"].erase("optimizer.safetensors");
  state.erase("crc32");
  state["crc32"] = fmt::format("{:08x}", crc32_of(state.dump()));
  write_file_atomically(folder / "state.json", state.dump());
  fs::remove(folder / "optimizer.safetensors");

  const Checkpoint checkpoint(folder);
  EXPECT_FALSE(checkpoint.has_moments());
  Parameters read(config_);
  checkpoint.read_weights(read);
  for (const Parameter& parameter : parameters_.table())
    EXPECT_EQ(values(read.weight(parameter.name)), values(parameters_.weight(parameter.name)))
        << parameter.name;
  test::expect_error([&] { checkpoint.read_moments(read); },
                     {folder.string(), "weights only", "optimizer.safetensors"});
}

/// With a model small enough to try everything: every truncation of every file, and a flipped bit
/// in every byte.
TEST_F(CheckpointTest, RefusesEveryLengthAndEveryAlteredByte) {
  Config config = small_config(8);
  config.dim = 4;
  config.layers = config.heads = 1;
  config.mem_slots = 16;
  Parameters parameters(config);
  parameters.initialise(1);
  const fs::path folder = directory_ / "c";
  TrainingProgress progress;
  // a run saves numbers, not auto
  progress.options.validation_tokens = progress.options.warmup = 0;
  save_checkpoint(folder, config, tokenizer_, parameters, {.step = 1, .progress = progress});
  int refused = 0, accepted = 0, expected = 0;
  const auto try_to_read = [&](const fs::path& file, const std::string& damage) {
    try {
      const Checkpoint damaged(folder);
      ++accepted;
      ADD_FAILURE() << file << " " << damage << " was taken for a good one";
    } catch (const Error&) {
      ++refused;
    }
  };
  for (const char* name : kCheckpointFiles) {
    const fs::path file = folder / name;
    const std::string good = read_file(file);
    // The line end after the state's JSON carries no information.
    const size_t counted = good.size() - (std::string_view(name) == "state.json" ? 1 : 0);
    expected += 2 * static_cast<int>(counted);
    // Modify in place: creating a new file each time is slow on some file systems.
    for (size_t byte = 0; byte < counted && accepted == 0; ++byte) {
      std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
      const auto put = [&](char value) {
        stream.seekp(static_cast<std::streamoff>(byte)).put(value).flush();
      };
      put(static_cast<char>(good[byte] ^ (1 << byte % 8)));
      try_to_read(file, fmt::format("with byte {} altered", byte));
      put(good[byte]);
    }
    for (size_t length = counted; length-- > 0 && accepted == 0;) {
      fs::resize_file(file, length);
      try_to_read(file, fmt::format("of {} bytes", length));
    }
    std::ofstream(file, std::ios::binary) << good;
  }
  EXPECT_EQ(refused, expected);
  EXPECT_NO_THROW(Checkpoint{folder});
}

TEST_F(CheckpointTest, RefusesATokenizerLargerThanTheModel) {
  config_.vocab_size = tokenizer_.size() - 1;
  save_checkpoint(directory_ / "c", config_, tokenizer_, Parameters(config_), {});
  test::expect_error([&] { const Checkpoint wrong(directory_ / "c"); },
                     {"tokenizer has 6 tokens", "the model 5"});
}

TEST_F(CheckpointTest, WeightsOfAnotherConfigurationAreRefused) {
  save(directory_ / "c");
  Config wider = config_;
  wider.dim = 64;
  Parameters parameters(wider);
  test::expect_error([&] { Checkpoint(directory_ / "c").read_weights(parameters); },
                     {"model.safetensors", "embedding.weight", "[8,32]", "[8,64]"});
}

/// Also those whose NaN the loss does not show.
TEST_F(CheckpointTest, WeightsThatAreNotFiniteAreRefused) {
  Parameters room(config_);
  for (const auto& [name, bad] : {std::pair("embedding.weight", INFINITY),
                                  {"blocks.0.mdi.W_g.bias", std::nanf("")},
                                  {"norm.weight", std::nanf("")}}) {
    const Tensor weight = parameters_.weight(name);
    const float good = std::exchange(weight.data()[weight.count() - 1], bad);
    save(directory_ / "c");
    test::expect_error([&] { Checkpoint(directory_ / "c").read_weights(room); },
                       {(directory_ / "c").string(), name, "not finite"});
    weight.data()[weight.count() - 1] = good;
  }
}

TEST_F(CheckpointTest, PredictsAllRowsUnlessTheEmbeddingFitsTheTokenizer) {
  Config config = config_;
  config.vocab_size = 16;  // as with --vocab auto
  EXPECT_EQ(model_vocabulary(config, tokenizer_), tokenizer_.size());
  config.vocab_size = 32;
  EXPECT_EQ(model_vocabulary(config, tokenizer_), 32);
}

}  // namespace
}  // namespace mmrec
