#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <thread>

#include "model/config_file.h"
#include "support/checksum.h"
#include "support/directory_lock.h"
#include "tests/common/bf16.h"
#include "tests/common/expect_error.h"
#include "tests/common/small_runs.h"
#include "train/data/token_file.h"
#include "train/run/data.h"
#include "train/run/folder.h"
#include "train/run/phases.h"
#include "train/run/recorded_run.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using test::contents;
using test::expect_error;
using test::values;

// except for the output
constexpr auto kChangeNothing = [](TrainOptions& options) { options.quiet = true; };

/// Returns a checkpoint's state without its duration, location and run id.
nlohmann::json comparable_state(const fs::path& checkpoint) {
  nlohmann::json state = nlohmann::json::parse(read_file(checkpoint / "state.json"));
  state.erase("crc32");
  state.erase("run");
  state["course"].erase("seconds");
  return state;
}

/// Rewrites a checkpoint's state.json.
void change_state(const fs::path& checkpoint, const std::function<void(nlohmann::json&)>& change) {
  nlohmann::json state = nlohmann::json::parse(read_file(checkpoint / "state.json"));
  state.erase("crc32");
  change(state);
  state["crc32"] = fmt::format("{:08x}", crc32_of(state.dump()));
  write_file_atomically(checkpoint / "state.json", state.dump());
}

class Resume : public test::SmallRuns {
 protected:
  /// A run over several epochs with dropout, validations more frequent than epoch ends, and a
  /// checkpoint at each step.
  TrainOptions long_run(const std::string& out) const {
    TrainOptions run = options(out);
    run.batch = 32;  // five steps per epoch
    run.steps = 12;
    run.eval_every = 4;
    run.save_every = 1;
    run.keep = 100;
    run.dropout = 0.2f;
    return run;
  }

  /// Compares weights, moments, state and figures: everything but the duration.
  static void expect_same_run(const TrainOptions& got, const TrainOptions& want) {
    for (const char* checkpoint : {"final_checkpoint", "best_model"}) {
      for (const char* file :
           {"model.safetensors", "optimizer.safetensors", "config.json", "tokenizer.json"})
        EXPECT_TRUE(read_file(got.out / checkpoint / file) ==
                    read_file(want.out / checkpoint / file))
            << checkpoint << "/" << file;
      EXPECT_EQ(comparable_state(got.out / checkpoint), comparable_state(want.out / checkpoint))
          << checkpoint;
    }
    const std::vector<MetricsRow> rows = read_metrics(got.out / "metrics.jsonl"),
                                  want_rows = read_metrics(want.out / "metrics.jsonl");
    ASSERT_EQ(rows.size(), want_rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ(rows[i].step, want_rows[i].step) << "row " << i;
      EXPECT_EQ(rows[i].epoch, want_rows[i].epoch) << "row " << i;
      EXPECT_EQ(rows[i].split, want_rows[i].split) << "row " << i;
      EXPECT_EQ(rows[i].loss, want_rows[i].loss) << "row " << i;
      EXPECT_EQ(rows[i].accuracy, want_rows[i].accuracy) << "row " << i;
      EXPECT_EQ(rows[i].tokens, want_rows[i].tokens) << "row " << i;
      if (rows[i].split == "val") continue;  // its rate and norm are NaN
      EXPECT_EQ(rows[i].lr, want_rows[i].lr) << "row " << i;
      EXPECT_EQ(rows[i].grad_norm, want_rows[i].grad_norm) << "row " << i;
      EXPECT_EQ(rows[i].max_state, want_rows[i].max_state) << "row " << i;
    }
  }

  static std::string log(const TrainOptions& run) {
    return read_file(run.out / "training_output.log");
  }
  static void expect_logged(const TrainOptions& run,
                            std::initializer_list<std::string_view> parts) {
    for (const std::string_view part : parts)
      EXPECT_NE(log(run).find(part), std::string::npos) << part << " is not in: " << log(run);
  }
};

/// Runs `body` and sends this process a signal as soon as the run has written this many rows.
int with_signal_after(const fs::path& metrics, int rows, int signal,
                      const std::function<int()>& body) {
  std::jthread sender([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      if (fs::exists(metrics) && std::ranges::count(read_file(metrics), '\n') >= rows)
        return void(::kill(::getpid(), signal));
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  return body();
}

TEST_F(Resume, StoppedRunEndsLikeAnUninterruptedOne) {
  TrainOptions whole = options("whole");
  whole.steps = 1000;
  whole.save_every = 300;
  whole.eval_every = 70;
  whole.patience = 0;  // all steps, regardless of the validations
  train(whole);
  TrainOptions stopped = whole;
  stopped.out = directory_ / "stop ped";
  stopped.program = "bin dir/train";
  int rows = 3;
  int result = with_signal_after(stopped.out / "metrics.jsonl", rows, SIGINT,
                                 [&] { return train(stopped); });
  EXPECT_EQ(result, SIGINT);
  EXPECT_FALSE(fs::exists(stopped.out / "final_checkpoint"));
  expect_logged(stopped,
                {"stopped by SIGINT after step",
                 fmt::format("'bin dir/train' --resume --out '{}'", stopped.out.string())});
  for (const int signal : {SIGTERM, SIGHUP}) {
    rows += 200;
    result = with_signal_after(stopped.out / "metrics.jsonl", rows, signal,
                               [&] { return resume_training(stopped.out, kChangeNothing); });
    EXPECT_EQ(result, signal);
  }
  EXPECT_EQ(resume_training(stopped.out, kChangeNothing), 0);
  expect_same_run(stopped, whole);
  expect_logged(stopped, {"stopped by SIGTERM", "stopped by SIGHUP", "going on after step",
                          "trained 1000 steps"});
}

TEST_F(Resume, RunInPartsEndsLikeAnUninterruptedOne) {
  const TrainOptions whole = long_run("whole");
  ASSERT_EQ(train(whole), 0);
  TrainOptions parts = whole;
  parts.out = directory_ / "parts";
  parts.until = "0.2x";
  ASSERT_EQ(train(parts), 0);
  const auto go_on_until = [&](const char* until) {
    return resume_training(parts.out, [&](TrainOptions& options) {
      options.quiet = true;
      options.until = until;
    });
  };
  // At step 3 there is no validation in the run, at step 8 there is one.
  for (const auto& [until, step] : {std::pair("3", 3), {"3", 3}, {"8", 8}}) {
    ASSERT_EQ(go_on_until(until), 0);
    EXPECT_FALSE(fs::exists(parts.out / "final_checkpoint"));
    EXPECT_EQ(rows(parts, "train").back().step, step);
    std::vector<MetricsRow> validations = rows(parts, "val");
    EXPECT_EQ(validations.back().step, step);
    EXPECT_EQ(validations.back().loss,
              validation_loss(parts, parts.out / RunFolder::step_name(step)));
    std::erase_if(validations, [&](const MetricsRow& row) { return row.step < step; });
    EXPECT_EQ(validations.size(), 1u);
  }
  expect_error<UsageError>([&] { go_on_until("0.5x"); }, {"--until 0.5x", "8 steps already"});
  ASSERT_EQ(go_on_until("1x"), 0);
  expect_same_run(parts, whole);
  expect_logged(parts, {"step 3/12 | validation loss", "stopped by --until after step 3 of 12",
                        "trained 12 steps"});
}

/// Fixture: bf16 is excluded.
class ResumeWithoutBf16 : public Resume {
 protected:
  ResumeWithoutBf16() { ::setenv("MMREC_MAX_ISA", "avx512", 1); }
  ~ResumeWithoutBf16() override { ::unsetenv("MMREC_MAX_ISA"); }
};

TEST_F(ResumeWithoutBf16, ARunInBf16NeedsAWord) {
  const TrainOptions run = long_run("run");
  ASSERT_EQ(train(run), 0);
  const fs::path checkpoint = run.out / RunFolder::step_name(5);
  change_state(checkpoint, [](nlohmann::json& state) {
    state["course"]["options"]["precision"] = "bf16";
  });
  for (const bool repeated : {false, true})  // the option of the command line that began the run
    expect_error<UsageError>(
        [&] {
          resume_training(checkpoint, [&](TrainOptions& options) {
            options.quiet = true;
            if (repeated) options.precision = "bf16";
          });
        },
        {"the run computes in bf16", "MMREC_MAX_ISA=avx512", "--precision float32"});
  EXPECT_EQ(resume_training(checkpoint,
                            [](TrainOptions& options) {
                              options.quiet = true;
                              options.precision = "float32";
                            }),
            0);
  expect_logged(run, {"changed: precision bf16 -> float32"});
}

TEST_F(ResumeWithoutBf16, ARunThatFellBackGoesOn) {
  TrainOptions whole = long_run("whole");
  ASSERT_EQ(train(whole), 0);
  TrainOptions run = long_run("run");
  run.precision = "bf16";
  run.until = "5";
  ASSERT_EQ(train(run), 0);
  EXPECT_EQ(resume_training(run.out,
                            [](TrainOptions& options) {
                              options.quiet = true;
                              options.precision = "bf16";
                              options.until = "";
                            }),
            0);
  expect_same_run(run, whole);
  expect_logged(run, {"--precision bf16: computing in float32", "MMREC_MAX_ISA=avx512",
                      "tokens in float32\n"});
  EXPECT_EQ(log(run).find("changed: precision"), std::string::npos);
}

TEST_F(Resume, InBf16LikeAnUninterruptedRun) {
  MMREC_NEEDS_BF16();
  for (const char* optimizer : {"adamw", "muon"}) {
    SCOPED_TRACE(optimizer);
    TrainOptions whole = long_run(fmt::format("whole {}", optimizer));
    whole.optimizer.algorithm = optimizer;
    whole.precision = "bf16";
    ASSERT_EQ(train(whole), 0);
    expect_logged(whole, {"tokens in bf16\n"});

    TrainOptions parts = whole;
    parts.out = directory_ / fmt::format("parts {}", optimizer);
    parts.until = "5";
    {
      const ScopedThreads two_threads(2);
      ASSERT_EQ(train(parts), 0);
    }
    ASSERT_EQ(resume_training(parts.out,
                              [](TrainOptions& options) {
                                options.quiet = true;
                                options.until = "";
                              }),
              0);
    expect_same_run(parts, whole);

    TrainOptions plain = whole;
    plain.out = directory_ / fmt::format("plain {}", optimizer);
    plain.precision = "float32";
    ASSERT_EQ(train(plain), 0);
    EXPECT_NE(read_file(plain.out / "final_checkpoint" / "model.safetensors"),
              read_file(whole.out / "final_checkpoint" / "model.safetensors"));
  }
}

TEST_F(Resume, EverySwitchResumesLikeTheBase) {
  for (const char* switches :
       {"hem=false", "dpg=true dpg_rank=8", "uboo=true", "dpg=true dpg_rank=8 uboo=true hem=false",
        "chunk_size=7", "chunk_size=7 carry_state=true memory=learned", "arch=mingru"}) {
    SCOPED_TRACE(switches);
    TrainOptions whole = long_run(fmt::format("whole {}", switches));
    std::istringstream words(switches);
    const std::vector<std::string> assignments(std::istream_iterator<std::string>(words), {});
    whole.config = base_for(assignments, whole.config);
    for (const std::string& assignment : assignments) set_field(whole.config, assignment);
    whole.recompute = true;
    train(whole);
    TrainOptions stopped = whole;
    stopped.out = directory_ / fmt::format("stopped {}", switches);
    stopped.steps = 7;
    train(stopped);
    EXPECT_EQ(resume_training(stopped.out / RunFolder::step_name(5),
                              [](TrainOptions& options) {
                                options.quiet = true;
                                options.steps = 12;
                                options.recompute = false;  // changes no bit
                              }),
              0);
    for (const char* file : {"model.safetensors", "optimizer.safetensors"})
      EXPECT_TRUE(read_file(stopped.out / "final_checkpoint" / file) ==
                  read_file(whole.out / "final_checkpoint" / file))
          << file;
  }
}

/// Runs that grow twice, with validations in the middle of phases and a checkpoint at each step.
class GrowingRun : public Resume {
 protected:
  TrainOptions growing(const std::string& out) const {
    TrainOptions run = long_run(out);
    run.grow = with_fields("tiny+dim=16+layers=1:5,tiny+dim=32+layers=1:3,tiny+dim=32+layers=2:4",
                           {"heads=2", "mem_slots=64", "max_seq=256"});
    run.config = parse_phases(run.grow)[0].config;
    run.warmup = kAuto;
    return run;
  }
  /// Copies a run up to a step.
  TrainOptions begun_again(const TrainOptions& whole, int64_t step) const {
    TrainOptions again = whole;
    again.out = directory_ / fmt::format("again {}", step);
    fs::copy(whole.out, again.out, fs::copy_options::recursive);
    return again;
  }
};

TEST_F(GrowingRun, EndsTheSameFromEveryStep) {
  for (const bool exact : {false, true}) {
    TrainOptions whole = growing(exact ? "exact" : "overlap");
    whole.exact = exact;
    ASSERT_EQ(train(whole), 0);
    EXPECT_EQ(Checkpoint(whole.out / "final_checkpoint").config.dim, 32);
    EXPECT_EQ(Checkpoint(whole.out / "final_checkpoint").config.layers, 2);
    EXPECT_EQ(Checkpoint(whole.out / RunFolder::step_name(5)).config.dim, 16);
    ASSERT_EQ(rows(whole, "train").size(), 12u);
    for (int64_t step = 1; step < 12; ++step) {
      SCOPED_TRACE(step);
      const TrainOptions again = begun_again(whole, step);
      EXPECT_EQ(resume_training(again.out / RunFolder::step_name(step), kChangeNothing), 0);
      expect_same_run(again, whole);
      fs::remove_all(again.out);
    }
  }
}

TEST_F(GrowingRun, DoesWhatIsUnfinishedBeforeItGrows) {
  const TrainOptions whole = growing("whole");
  ASSERT_EQ(train(whole), 0);
  const TrainOptions again = begun_again(whole, 5);
  change_state(again.out / RunFolder::step_name(5), [](nlohmann::json& state) {
    state["course"]["unfinished"] = TrainingProgress::kValidation;
    state["validation_loss"] = nullptr;
  });
  EXPECT_EQ(resume_training(again.out / RunFolder::step_name(5), kChangeNothing), 0);
  expect_same_run(again, whole);
}

TEST_F(GrowingRun, EachPhaseHasItsOwnSchedule) {
  TrainOptions run = growing("run");
  run.warmup = 1;
  ASSERT_EQ(train(run), 0);
  const std::vector<MetricsRow> steps = rows(run, "train");
  for (const size_t first : {0, 5, 8}) {
    EXPECT_NEAR(steps[first].lr, 3e-4, 1e-9);      // a tenth of the peak
    EXPECT_NEAR(steps[first + 1].lr, 3e-3, 1e-9);  // the peak
  }
  for (const size_t last : {4, 7, 11}) EXPECT_NEAR(steps[last].lr, 3e-4, 1e-9);
}

TEST_F(GrowingRun, StoppedOneEndsLikeAnUninterruptedOne) {
  const TrainOptions whole = growing("whole");
  ASSERT_EQ(train(whole), 0);
  TrainOptions stopped = growing("stopped");
  const fs::path metrics = stopped.out / "metrics.jsonl";
  int result = with_signal_after(metrics, 2, SIGINT, [&] { return train(stopped); });
  while (result == SIGINT) {
    // more than there are, or the signal would come before the run listens to it
    const auto rows = std::ranges::count(read_file(metrics), '\n') + 2;
    result = with_signal_after(metrics, static_cast<int>(rows), SIGINT,
                               [&] { return resume_training(stopped.out, kChangeNothing); });
  }
  EXPECT_EQ(result, 0);
  expect_same_run(stopped, whole);
}

TEST_F(GrowingRun, InPartsEndsLikeAnUninterruptedOne) {
  const TrainOptions whole = growing("whole");
  ASSERT_EQ(train(whole), 0);
  TrainOptions parts = growing("parts");
  parts.until = "0.25x";
  ASSERT_EQ(train(parts), 0);
  // The first phase ends with step 5: the weights that are measured there are its own.
  for (const auto& [until, step, dim] : {std::tuple("5", 5, 16), {"0.5x", 6, 32}, {"1x", 12, 32}}) {
    ASSERT_EQ(resume_training(parts.out,
                              [&](TrainOptions& options) {
                                options.quiet = true;
                                options.until = until;
                              }),
              0);
    EXPECT_EQ(rows(parts, "train").back().step, step);
    EXPECT_EQ(Checkpoint(parts.out / RunFolder::step_name(step)).config.dim, dim);
  }
  expect_same_run(parts, whole);
}

TEST_F(GrowingRun, KeepsTheLossWhereItGrowsExactly) {
  for (const bool exact : {false, true}) {
    TrainOptions run = growing(exact ? "exact" : "overlap");
    run.exact = exact;
    run.grow = with_fields(run.grow, {"memory=learned"});
    run.config = parse_phases(run.grow)[0].config;
    run.dropout = 0;
    run.warmup =
        0;  // and a constant rate: the first five steps do not depend on the phase's length
    run.minimum_rate = "1x";
    ASSERT_EQ(train(run), 0);
    // the same run without growing after step 5: the loss of step 6 is of the old function
    TrainOptions next = run;
    next.out = directory_ / (exact ? "next exact" : "next overlap");
    next.grow.replace(next.grow.find(":5"), 2, ":6");
    ASSERT_EQ(train(next), 0);
    const double small_loss = rows(next, "train")[5].loss, grown_loss = rows(run, "train")[5].loss;
    if (exact)
      EXPECT_NEAR(grown_loss, small_loss, 1e-5);
    else
      EXPECT_GT(std::abs(grown_loss - small_loss), 1e-3);
  }
}

TEST_F(GrowingRun, RefusesImpossiblePhases) {
  const auto expect_refused = [&](const std::string& grow, bool exact,
                                  std::initializer_list<std::string_view> words) {
    TrainOptions run = growing("refused");
    run.grow = grow;
    run.exact = exact;
    expect_error<UsageError>([&] { train(run); }, words);
    EXPECT_FALSE(fs::exists(run.out));
  };
  expect_refused("tiny", false, {"--grow tiny", "'tiny' is not a size", "tiny:2000,mini:2000"});
  expect_refused("tiny:0", false, {"'tiny:0'"});
  expect_refused("tiny:5,", false, {"''"});
  expect_refused("huge:5", false, {"no preset 'huge'"});
  expect_refused("tiny+dims=4:5", false, {"unknown field 'dims'"});
  expect_refused("tiny:5,tiny+heads=3:5", false, {"heads must divide dim"});
  expect_refused("tiny:5,tiny+max_seq=16:5", false, {"--seq 32", "max_seq 16"});
  expect_refused("tiny:5,tiny+heads=8:5", true, {"a head would shrink from 32 to 16 units"});
  expect_refused("", true, {"--exact is for --grow"});
}

/// Runs whose validations, samples or steps take some tenths of a second, so that a stop hits the
/// middle of one.
class StopInTheMiddle : public Resume {
 protected:
  StopInTheMiddle() {
    const std::string play =
        read_file(fs::path(MMREC_SOURCE_DIR) / "data/tiny_shakespeare/input.txt");
    std::ofstream(directory_ / "long.txt") << play.substr(0, 400'000);
  }
  TrainOptions slow_run(const std::string& out) const {
    TrainOptions run = options(out);
    run.data = (directory_ / "long.txt").string();
    run.validation_split = "0.5";
    run.validation_tokens = 10'000;
    run.eval_every = 100;
    return run;
  }
  /// Stops a run like `whole` (which has ended) as soon as it has written this many rows. Expects
  /// it to leave `unfinished` after `step`, and to end like `whole` when resumed.
  void expect_no_trace(const TrainOptions& whole, int rows, int64_t step,
                       const std::string& unfinished) {
    TrainOptions stopped = whole;
    stopped.out = directory_ / "stopped";
    EXPECT_EQ(with_signal_after(stopped.out / "metrics.jsonl", rows, SIGTERM,
                                [&] { return train(stopped); }),
              SIGTERM);
    const nlohmann::json state =
        nlohmann::json::parse(read_file(stopped.out / RunFolder::step_name(step) / "state.json"));
    EXPECT_EQ(state["course"].value("unfinished", ""), unfinished) << state["course"];
    EXPECT_EQ(resume_training(stopped.out, kChangeNothing), 0);
    expect_same_run(stopped, whole);
  }
};

TEST_F(StopInTheMiddle, OfAValidation) {
  TrainOptions whole = slow_run("whole");
  whole.validation_tokens = 0;
  whole.eval_every = 2;
  whole.steps = 3;
  train(whole);
  expect_no_trace(whole, 2, 2, "validation");
  // If the process is killed before it saves the redone work, no row appears twice.
  TrainOptions again = whole;
  again.out = directory_ / "stopped";
  const fs::path metrics = again.out / "metrics.jsonl";
  const std::string all = read_file(metrics);
  EXPECT_EQ(resume_training(again.out / RunFolder::step_name(2), kChangeNothing), 0);
  EXPECT_EQ(std::ranges::count(read_file(metrics), '\n'), std::ranges::count(all, '\n'));
}

TEST_F(StopInTheMiddle, OfAValidationAtTheEnd) {
  TrainOptions whole = slow_run("whole");
  whole.validation_tokens = 0;
  whole.steps = 2;
  train(whole);
  expect_no_trace(whole, 2, 2, "validation");
}

TEST_F(StopInTheMiddle, OfASample) {
  TrainOptions whole = slow_run("whole");
  whole.steps = 3;
  whole.sample_every = 2;
  whole.sample_tokens = 10'000;
  train(whole);
  expect_no_trace(whole, 2, 2, "sample");
}

TEST_F(StopInTheMiddle, OfAnAccumulatedStep) {
  TrainOptions whole = slow_run("whole");
  whole.steps = 3;
  whole.accumulate = 300;
  train(whole);
  expect_no_trace(whole, 1, 1, "");
}

TEST_F(StopInTheMiddle, OfAStepThatCarriesStates) {
  TrainOptions whole = slow_run("whole");
  whole.steps = 3;
  whole.accumulate = 300;
  whole.carry = 5;
  train(whole);
  expect_no_trace(whole, 1, 1, "");
}

TEST_F(Resume, FromEachCheckpointToTheSameEnd) {
  TrainOptions whole = long_run("whole"), again = long_run("again");
  train(whole);
  train(again);
  for (int64_t step = 1; step <= whole.steps; ++step) {
    SCOPED_TRACE(step);
    const fs::path checkpoint = again.out / fmt::format("checkpoint_step_{:06}", step);
    ASSERT_EQ(resume_training(checkpoint, kChangeNothing), 0);
    expect_same_run(again, whole);
  }
  // An epoch's mean covers all its steps, also those before the resume.
  const std::string want = log(whole), got = log(again);
  const size_t begin = want.find("epoch 2/3: train loss"), length = want.find(" | ", begin) - begin;
  ASSERT_NE(begin, want.npos);
  int lines = 0;
  for (size_t place = 0; (place = got.find(want.substr(begin, length), place)) != got.npos; ++place)
    ++lines;
  EXPECT_EQ(lines, 1 + 9) << "of the run itself, and from each checkpoint before step 10";
}

TEST_F(Resume, ALearnedMemoryIsPartOfTheRun) {
  TrainOptions whole = long_run("whole"), again = long_run("again");
  whole.config.memory = again.config.memory = "learned";
  whole.optimizer.decay = again.optimizer.decay = 0;  // only gradients move the slots
  train(whole);
  train(again);
  ASSERT_EQ(resume_training(again.out / "checkpoint_step_000004", kChangeNothing), 0);
  expect_same_run(again, whole);

  const Checkpoint final(whole.out / "final_checkpoint");
  Parameters begun(final.config), ended(final.config);
  begun.initialise(whole.seed);
  final.read_weights(ended);
  for (const char* slots : {"blocks.0.memory.k", "blocks.1.memory.v"})
    EXPECT_NE(values(begun.weight(slots)), values(ended.weight(slots))) << slots;
}

TEST_F(Resume, CarriedStatesArePartOfTheRun) {
  TrainOptions whole = long_run("whole"), again = long_run("again"), fresh = long_run("fresh");
  for (TrainOptions* run : {&whole, &again, &fresh}) run->batch = 8, run->accumulate = 2;
  whole.carry = again.carry = 3;
  train(whole);
  train(again);
  train(fresh);
  for (int64_t step = 1; step <= whole.steps; ++step) {
    SCOPED_TRACE(step);
    ASSERT_EQ(resume_training(again.out / RunFolder::step_name(step), kChangeNothing), 0);
    expect_same_run(again, whole);
  }
  const Checkpoint carried(whole.out / "final_checkpoint"), without(fresh.out / "final_checkpoint");
  Parameters parameters(carried.config);
  const int streams = BatchOrder(168, 16, 42, 3).streams();
  ASSERT_EQ(streams, 48) << "each has its turn at every third step";
  std::vector<float> room(static_cast<size_t>(2 * streams * 32));
  const Tensor states(room.data(), {carried.config.layers, streams, carried.config.dim});
  carried.read_moments(parameters, states);
  for (int stream = 0; stream < streams; ++stream)
    EXPECT_NE(states.at(1).at(stream).data()[0], 0) << "stream " << stream << " has no state";
  expect_error([&] { without.read_moments(parameters, states); },
               {"optimizer.safetensors", "carried"});
}

TEST_F(Resume, MuonResumesLikeAdamw) {
  TrainOptions whole = long_run("whole"), again = long_run("again");
  for (TrainOptions* run : {&whole, &again}) {
    run->optimizer.algorithm = "muon";
    run->config.gates = "spread";
  }
  train(whole);
  train(again);
  ASSERT_EQ(resume_training(again.out / "checkpoint_step_000004", kChangeNothing), 0);
  expect_same_run(again, whole);
  expect_error<UsageError>(
      [&] {
        resume_training(again.out,
                        [](TrainOptions& options) { options.optimizer.algorithm = "adamw"; });
      },
      {"--optimizer adamw", "muon"});
}

TEST_F(Resume, TheAverageOfTheWeightsIsPartOfTheRun) {
  TrainOptions whole = long_run("whole"), again = long_run("again"), without = long_run("without");
  whole.optimizer.average = again.optimizer.average = 0.9f;
  for (const TrainOptions* run : {&whole, &again, &without}) train(*run);
  for (const int64_t step : {4, 7}) {
    ASSERT_EQ(resume_training(again.out / RunFolder::step_name(step), kChangeNothing), 0);
    expect_same_run(again, whole);
  }
  const Checkpoint averaged(whole.out / "final_checkpoint"),
      plain(without.out / "final_checkpoint");
  Parameters model(averaged.config, Parameters::Arrays::kAveraged), last(plain.config);
  averaged.read_weights(model);
  plain.read_weights(last);
  const std::vector<float> of_checkpoint = values(model.weights());
  averaged.read_moments(model);
  EXPECT_EQ(values(model.average()), of_checkpoint);
  EXPECT_EQ(values(model.weights()), values(last.weights())) << "what is trained is the same";
  EXPECT_NE(values(model.average()), values(model.weights()));
  expect_error([&] { plain.read_moments(model); }, {"optimizer.safetensors", "w."});
  expect_error<UsageError>(
      [&] {
        resume_training(again.out, [](TrainOptions& options) { options.optimizer.average = 0; });
      },
      {"--average", "0.9"});
}

TEST_F(Resume, AnotherArchitectureResumesLikeMmrec) {
  TrainOptions whole = long_run("whole"), again = long_run("again");
  whole.config.arch = "mingru";
  whole.config = again.config = without_unread_fields(whole.config);
  train(whole);
  train(again);
  ASSERT_EQ(resume_training(again.out / "checkpoint_step_000004", kChangeNothing), 0);
  expect_same_run(again, whole);
  EXPECT_EQ(Checkpoint(whole.out / "final_checkpoint").config.arch, "mingru");
}

/// Earlier versions let a field that the architecture does not read have any value.
TEST_F(Resume, AnEarlierVersionsUnreadFieldsAreDropped) {
  TrainOptions run = long_run("run");
  run.config.arch = "mingru";
  run.config = without_unread_fields(run.config);
  run.steps = 2;
  train(run);
  const fs::path of_run = run.out / "config.json", earlier = directory_ / "earlier";
  nlohmann::json fields = nlohmann::json::parse(read_file(of_run));
  fields["heads"] = 7;
  write_file_atomically(of_run, fields.dump());
  EXPECT_EQ(resume_training(run.out, [](TrainOptions& more) { more.steps = 3; }), 0);

  const Checkpoint checkpoint(run.out / "final_checkpoint");
  EXPECT_EQ(checkpoint.state.step, 3);
  Config config = checkpoint.config;
  config.heads = 7;
  save_checkpoint(earlier, config, checkpoint.tokenizer, Parameters(config), {.step = 3});
  EXPECT_EQ(Checkpoint(earlier).config, checkpoint.config);
}

TEST_F(Resume, EarlyStoppingRemembersItsPatience) {
  fs::create_directory(directory_ / "texts");
  std::string train_text, validation_text;
  for (int i = 0; i < 200; ++i)
    train_text += i % 3 ? "ab" : "ba", validation_text += i % 3 ? "yz" : "zy";
  std::ofstream(directory_ / "texts/train.txt") << train_text;
  std::ofstream(directory_ / "texts/val.txt") << validation_text;
  TrainOptions whole = options("whole");
  whole.data = (directory_ / "texts").string();
  whole.steps = 0;
  whole.epochs = 9;
  whole.patience = 3;
  whole.save_every = 1;
  whole.keep = 100;
  train(whole);
  const int64_t stopped_at = Checkpoint(whole.out / "final_checkpoint").state.step;
  TrainOptions again = whole;
  again.out = directory_ / "again";
  train(again);
  for (const int64_t step : {stopped_at, stopped_at - 1, stopped_at / 2}) {
    ASSERT_EQ(
        resume_training(again.out / fmt::format("checkpoint_step_{:06}", step), kChangeNothing), 0);
    expect_same_run(again, whole);
  }
  resume_training(again.out, [](TrainOptions& now) { now.quiet = true, now.patience = 0; });
  EXPECT_GT(Checkpoint(again.out / "final_checkpoint").state.step, stopped_at)
      << "with more patience it goes on";
}

TEST_F(Resume, MoreEpochsOnceTheRunHasEnded) {
  TrainOptions run = options("run");
  run.steps = 0;
  run.epochs = 1;
  train(run);
  const int64_t per_epoch = Checkpoint(run.out / "final_checkpoint").state.step;
  const auto before = contents(run.out / "final_checkpoint");
  ASSERT_EQ(resume_training(run.out, kChangeNothing), 0) << "nothing is left to do";
  EXPECT_EQ(contents(run.out / "final_checkpoint")
                .at((run.out / "final_checkpoint/model.safetensors").string()),
            before.at((run.out / "final_checkpoint/model.safetensors").string()));

  ASSERT_EQ(resume_training(run.out,
                            [](TrainOptions& now) {
                              now.quiet = true;
                              now.epochs = 2;
                              now.optimizer.learning_rate = 1e-3f;
                            }),
            0);
  const Checkpoint longer(run.out / "final_checkpoint");
  EXPECT_EQ(longer.state.step, 2 * per_epoch);
  EXPECT_EQ(longer.state.progress->options.epochs, 2)
      << "the next one goes on with what was given last";
  EXPECT_EQ(rows(run, "train").size(), static_cast<size_t>(2 * per_epoch));
  expect_logged(run, {"changed: epochs 1 -> 2, lr 0.003 -> 0.001"});
  expect_error<UsageError>(
      [&] {
        resume_training(run.out, [](TrainOptions& now) { now.quiet = true, now.epochs = 1; });
      },
      {"has taken", "steps already"});
}

TEST_F(Resume, RefusesOptionsOfAnotherRun) {
  TrainOptions run = options("run");
  train(run);
  const auto before = contents(run.out);
  const auto expect_refused = [&](std::initializer_list<std::string_view> mentions,
                                  const std::function<void(TrainOptions&)>& change) {
    expect_error<UsageError>([&] { resume_training(run.out, change); }, mentions);
    EXPECT_EQ(contents(run.out), before);
  };
  expect_refused({"--batch 5", "begun with 4", "--init"},
                 [](TrainOptions& now) { now.quiet = true, now.batch = 5; });
  expect_refused({"--seq 16", "begun with 32"},
                 [](TrainOptions& now) { now.quiet = true, now.sequence = 16; });
  expect_refused({"--accumulate 2", "begun with 1"},
                 [](TrainOptions& now) { now.quiet = true, now.accumulate = 2; });
  expect_refused({"--carry 4", "begun with 1"},
                 [](TrainOptions& now) { now.quiet = true, now.carry = 4; });
  expect_refused({"--seed 7", "begun with 42"},
                 [](TrainOptions& now) { now.quiet = true, now.seed = 7; });
  expect_refused({"--config", "dim 32 -> 64"},
                 [](TrainOptions& now) { now.quiet = true, now.config.dim = 64; });
  expect_refused({"--lr inf"}, [](TrainOptions& now) {
    now.quiet = true, now.optimizer.learning_rate = INFINITY;
  });

  // The text counts, not its location.
  std::ofstream(directory_ / "play.txt", std::ios::app) << "x";
  expect_error([&] { resume_training(run.out, kChangeNothing); },
               {"play.txt", "not the text", "--data", "--init"});
  EXPECT_EQ(contents(run.out), before);
  std::ofstream(directory_ / "moved.txt") << read_file(directory_ / "play.txt").substr(0, 6000);
  EXPECT_EQ(resume_training(
                run.out,
                [&](TrainOptions& now) { now.quiet = true, now.data = directory_ / "moved.txt"; }),
            0);
}

/// A run that an earlier version began on these data cannot be resumed, although nobody changed
/// them.
TEST_F(Resume, NamesDataThatEarlierVersionsReadDifferently) {
  const auto message = [&](const std::string& name,
                           const std::string& val_split = "auto") -> std::string {
    TrainOptions source;
    source.data = directory_ / name;
    source.validation_split = val_split;
    try {
      check_same_data({1, 2, 3, 4}, load_data(source, std::nullopt), name);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const std::string text = read_file(directory_ / "play.txt"),
                    line = nlohmann::json{{"text", text}}.dump() + "\n";
  std::ofstream(directory_ / "marked.txt") << "\uFEFF" << text;
  std::ofstream(directory_ / "x.jsonl") << "\uFEFF" << line << line;
  fs::create_directory(directory_ / "prepared");
  const Tokenizer tokenizer(CharacterCounts{{'a', 1}}, 0);
  tokenizer.save(directory_ / "prepared/tokenizer.json");
  for (const char* part : {"train", "val"}) {
    TokenFileWriter writer(directory_ / "prepared" / fmt::format("{}.tokens", part),
                           tokenizer.size());
    writer.append(tokenizer.encode("aaaa", "the test"));
    writer.finish({.vocabulary = tokenizer.size(),
                   .tokenizer_crc32 = crc32_of(read_file(directory_ / "prepared/tokenizer.json")),
                   .text_bytes = 4});
  }
  constexpr const char *kRule = "divided JSON lines by another rule",
                       *kMark = "kept a byte order mark";
  constexpr const char* kCause = "if the data are as they were: earlier versions";
  for (const auto& [said, has_rule, has_mark] : {std::tuple(message("play.txt"), false, false),
                                                 {message("marked.txt"), false, true},
                                                 {message("x.jsonl"), true, false},
                                                 {message("x.jsonl", "0"), false, false},
                                                 {message("prepared"), true, true}}) {
    EXPECT_NE(said.find("not the text that the run was begun with"), said.npos) << said;
    EXPECT_NE(said.find("--init"), said.npos) << said;
    EXPECT_EQ(said.find(kRule) != said.npos, has_rule) << said;
    EXPECT_EQ(said.find(kMark) != said.npos, has_mark) << said;
    EXPECT_EQ(said.find(kCause) != said.npos, has_rule || has_mark) << said;
  }
}

TEST_F(Resume, FallsBackToTheNewestGoodCheckpoint) {
  TrainOptions whole = long_run("whole"), run = long_run("run");
  whole.validation_split = run.validation_split = "0";
  train(whole);
  train(run);
  // Damage of each kind, from the newest backwards, including a checkpoint of another
  // configuration.
  fs::resize_file(run.out / "best_model/state.json", 100);
  fs::resize_file(run.out / "final_checkpoint/model.safetensors", 1000);
  fs::remove(run.out / "checkpoint_step_000012/optimizer.safetensors");
  std::ofstream(run.out / "checkpoint_step_000011/state.json") << "{}";
  TrainOptions other = options("other");
  other.config.dim = 16;
  other.steps = 10;
  train(other);
  fs::remove_all(run.out / "checkpoint_step_000010");
  fs::copy(other.out / "final_checkpoint", run.out / "checkpoint_step_000010");
  fs::resize_file(run.out / "checkpoint_step_000009/tokenizer.json", 0);

  ASSERT_EQ(resume_training(run.out, kChangeNothing), 0);
  expect_same_run(run, whole);
  expect_logged(run, {"model.safetensors: the file is not what was saved (1000 bytes",
                      "optimizer.safetensors is missing", "checkpoint_step_000011 is passed over",
                      "another configuration", "dim 32 -> 16",
                      "checkpoint_step_000009 is passed over", "going on after step 8 of 12"});
  EXPECT_EQ(entries(run.out / "set_aside"),
            (std::set<std::string>{"checkpoint_step_000009", "checkpoint_step_000010",
                                   "checkpoint_step_000011", "checkpoint_step_000012",
                                   "final_checkpoint"}));
  for (int step = 1; step <= 12; ++step)
    EXPECT_NO_THROW(Checkpoint(run.out / fmt::format("checkpoint_step_{:06}", step)));
}

TEST_F(Resume, WithoutAValidCheckpoint) {
  expect_error([&] { resume_training(directory_ / "missing", kChangeNothing); },
               {"missing", "no such folder"});
  TrainOptions run = options("run");
  fs::create_directory(run.out);
  expect_error([&] { resume_training(run.out, kChangeNothing); },
               {run.out.string(), "not a run's folder", "config.json"});
  train(run);
  fs::create_directory(directory_ / "early");
  fs::copy(run.out / "config.json", directory_ / "early");  // it ended before its first checkpoint
  expect_error([&] { resume_training(directory_ / "early", kChangeNothing); },
               {"early", "holds no checkpoint", "--overwrite"});
  for (const char* name : {"best_model", "final_checkpoint"})
    fs::resize_file(run.out / name / "model.safetensors", 7);
  expect_error([&] { resume_training(run.out, kChangeNothing); },
               {"no checkpoint that can be resumed", "best_model is passed over", "7 bytes"});
  expect_error([&] { resume_training(run.out / "final_checkpoint", kChangeNothing); },
               {"final_checkpoint/model.safetensors", "not what was saved"});

  // As written by versions without --resume.
  const fs::path old = run.out / "checkpoint_step_000003";
  Parameters parameters(run.config);
  parameters.initialise(1);
  save_checkpoint(old, run.config, Tokenizer(CharacterCounts{{'a', 1}}), parameters, {.step = 3});
  expect_error([&] { resume_training(old, kChangeNothing); },
               {"checkpoint_step_000003", "earlier versions", "--init"});
}

/// Both have the same step; the older one belongs to a run that was meant to be longer.
TEST_F(Resume, PrefersTheCheckpointSavedLast) {
  TrainOptions run = long_run("run");
  train(run);
  ASSERT_EQ(resume_training(run.out / "checkpoint_step_000006",
                            [](TrainOptions& now) { now.quiet = true, now.steps = 6; }),
            0);
  int64_t steps = 0;
  ASSERT_EQ(
      resume_training(run.out, [&](TrainOptions& now) { now.quiet = true, steps = now.steps; }), 0);
  EXPECT_EQ(steps, 6);
  ASSERT_EQ(resume_training(run.out / "checkpoint_step_000006", kChangeNothing), 0)
      << "the older one can still be named";
  EXPECT_EQ(Checkpoint(run.out / "final_checkpoint").state.step, 12);
}

TEST_F(Resume, GoesBackToTheNamedCheckpoint) {
  TrainOptions run = long_run("run");
  train(run);
  const fs::path named = run.out / "checkpoint_step_000004/";
  ASSERT_EQ(resume_training(named, [](TrainOptions& now) { now.quiet = true, now.steps = 6; }), 0);
  EXPECT_EQ(rows(run, "train").size(), 6u);
  EXPECT_EQ(Checkpoint(run.out / "final_checkpoint").state.step, 6);
  EXPECT_LE(Checkpoint(run.out / "best_model").state.step, 6)
      << "what the steps that were given up had reached does not count";
  EXPECT_GT(Checkpoint(run.out / "set_aside/best_model").state.step, 6);
  EXPECT_TRUE(fs::exists(run.out / "set_aside/checkpoint_step_000010")) << "nothing is deleted";
  EXPECT_FALSE(fs::exists(run.out / "checkpoint_step_000010"));
  expect_logged(run, {"moved to set_aside", "going on after step 4 of 6"});
  ASSERT_EQ(resume_training(run.out, [](TrainOptions& now) { now.quiet = true, now.steps = 7; }),
            0);
  expect_logged(run, {"going on after step 6 of 7"});
}

TEST_F(Resume, LostBestModelIsRecreated) {
  TrainOptions run = options("run");
  train(run);
  fs::remove(run.out / "best_model/model.safetensors");
  ASSERT_EQ(resume_training(run.out, kChangeNothing), 0);
  expect_logged(run, {"the best model so far is lost"});
  EXPECT_EQ(read_file(run.out / "best_model/model.safetensors"),
            read_file(run.out / "final_checkpoint/model.safetensors"));
}

TEST_F(Resume, OneRunAtATimeInAFolder) {
  TrainOptions run = options("run");
  train(run);
  run.overwrite = true;
  const auto before = contents(run.out);
  {
    const DirectoryLock other(run.out);
    expect_error([&] { train(run); }, {run.out.string(), "in use by another run", "--out"});
    expect_error([&] { resume_training(run.out, kChangeNothing); },
                 {run.out.string(), "in use by another run"});
    EXPECT_EQ(contents(run.out), before);
  }
  EXPECT_EQ(train(run), 0);
}

TEST_F(Resume, CheckpointOutsideItsRunCanOnlyStartANewRun) {
  TrainOptions run = options("run");
  train(run);
  const fs::path kept = directory_ / "keep", renamed = run.out / "my favourite";
  for (const fs::path& copy : {kept, renamed}) fs::copy(run.out / "final_checkpoint", copy);
  fs::create_directory(directory_ / "other");
  fs::copy(run.out / "final_checkpoint", directory_ / "other/final_checkpoint");
  const auto before = contents(directory_.path());
  for (const fs::path& copy : {kept, renamed, directory_ / "other/final_checkpoint"})
    expect_error([&] { resume_training(copy, kChangeNothing); },
                 {copy.string(), "is a checkpoint", "--init " + copy.string()});
  for (const bool overwrite : {false, true}) {
    TrainOptions into = options("keep");
    into.overwrite = overwrite;
    test::expect_error<UsageError>([&] { train(into); },
                                   {"--out", kept.string(), "is a checkpoint"});
  }
  EXPECT_EQ(contents(directory_.path()), before);
  TrainOptions tuned = options("tuned");
  tuned.init = kept.string();
  EXPECT_EQ(train(tuned), 0);
  fs::create_symlink(run.out / "final_checkpoint", directory_ / "link");
  EXPECT_EQ(resume_training(directory_ / "link", kChangeNothing), 0)
      << "by a link it is in its run's folder";
}

TEST_F(Resume, RefusesTheCheckpointOfAnotherRun) {
  TrainOptions run = options("run"), other = options("other");
  train(run);
  train(other);  // identical except for the id
  fs::remove_all(run.out / "final_checkpoint");
  fs::copy(other.out / "final_checkpoint", run.out / "final_checkpoint");
  expect_error([&] { resume_training(run.out / "final_checkpoint", kChangeNothing); },
               {"cannot go on", "of another run", "--init"});
  EXPECT_EQ(load_config((run.out / "config.json").string()),
            Checkpoint(other.out / "final_checkpoint").config)
      << "the id is no field of a model";
}

TEST_F(Resume, IgnoresAnotherRunsBestModel) {
  TrainOptions run = long_run("run"), other = long_run("other");
  train(run);
  train(other);
  fs::remove_all(run.out / "best_model");
  fs::copy(other.out / "best_model", run.out / "best_model");
  ASSERT_EQ(resume_training(run.out, kChangeNothing), 0);
  expect_logged(run, {"the best model so far is lost", "of another run"});
  EXPECT_EQ(Checkpoint(run.out / "best_model").state.run,
            Checkpoint(run.out / "final_checkpoint").state.run);
}

TEST_F(Resume, KeepsCopiesNamedLikeLeftovers) {
  TrainOptions run = options("run");
  train(run);
  for (const char* name : {"best_model.kept-1", "best_model.old-2"})
    fs::copy(run.out / "best_model", run.out / name);
  std::ofstream(run.out / "metrics.jsonl.kept-2") << "mine";
  std::ofstream(run.out / "best_model.kept-1/mark") << "mine";
  ASSERT_EQ(resume_training(run.out, kChangeNothing), 0);
  EXPECT_FALSE(fs::exists(run.out / "best_model/mark"));
  for (const char* name : {"best_model.kept-1/mark", "best_model.old-2", "metrics.jsonl.kept-2"})
    EXPECT_TRUE(fs::exists(run.out / name)) << name;
}

TEST_F(Resume, GoesOnWithARunOfAnEarlierVersion) {
  TrainOptions run = options("run");
  train(run);
  nlohmann::json config = nlohmann::json::parse(read_file(run.out / "config.json"));
  ASSERT_EQ(config.erase("run"), 1u);
  write_file_atomically(run.out / "config.json", config.dump());
  for (const char* name : {"best_model", "final_checkpoint"})
    change_state(run.out / name, [](nlohmann::json& state) { ASSERT_EQ(state.erase("run"), 1u); });
  ASSERT_EQ(resume_training(run.out, [](TrainOptions& now) { now.quiet = true, now.steps = 40; }),
            0);
  EXPECT_EQ(Checkpoint(run.out / "final_checkpoint").state.step, 40);
}

TEST_F(Resume, TidiesUpAfterAKilledProcess) {
  TrainOptions run = options("run");
  run.save_every = 1;
  train(run);
  fs::copy(run.out / "best_model", run.out / "checkpoint_step_000009.partial-0123456789abcdef");
  // killed between two renames
  fs::rename(run.out / "best_model", run.out / "best_model.old-0123456789abcdef");
  fs::copy(run.out / "final_checkpoint", run.out / "final_checkpoint.old-0123456789abcdef");
  std::ofstream(run.out / "latest.partial-0123456789abcdef") << "che";
  std::ofstream(run.out / "notes.old-4711") << "mine";
  ASSERT_EQ(resume_training(run.out, kChangeNothing), 0);
  EXPECT_EQ(
      entries(run.out),
      (std::set<std::string>{"best_model", "checkpoint_step_000002", "checkpoint_step_000003",
                             "checkpoint_step_000004", "config.json", "final_checkpoint", "latest",
                             "metrics.jsonl", "notes.old-4711", "training_output.log"}));
}

TEST_F(Resume, ForeignFilesAreKept) {
  TrainOptions run = options("run");
  run.save_every = 1;
  run.keep = 2;
  train(run);
  const auto put = [&](const fs::path& folder) {
    fs::create_directories(folder / "mine/deep");
    std::ofstream(folder / "mine/deep/notes.txt") << "mine";
    std::ofstream(folder / "model.gguf") << "converted";
  };
  put(run.out / "best_model");
  put(run.out / "final_checkpoint");
  put(run.out / "checkpoint_step_000003");
  ASSERT_EQ(resume_training(run.out, [](TrainOptions& now) { now.quiet = true, now.steps = 40; }),
            0);
  for (const char* folder : {"best_model", "final_checkpoint", "checkpoint_step_000003"}) {
    EXPECT_EQ(read_file(run.out / folder / "mine/deep/notes.txt"), "mine") << folder;
    EXPECT_EQ(read_file(run.out / folder / "model.gguf"), "converted") << folder;
  }
  EXPECT_GT(Checkpoint(run.out / "best_model").state.step, 4);
  EXPECT_EQ(Checkpoint(run.out / "final_checkpoint").state.step, 40);
  EXPECT_FALSE(fs::exists(run.out / "checkpoint_step_000004")) << "the others still go";
}

}  // namespace
}  // namespace mmrec
