#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "support/directory_lock.h"
#include "support/html_page.h"
#include "support/names.h"
#include "support/plot_axis.h"
#include "support/text_table.h"
#include "tests/common/expect_error.h"
#include "tests/common/small_runs.h"
#include "tests/common/temporary_directory.h"
#include "train/report/report_html.h"
#include "train/report/report_text.h"
#include "train/report/run_report.h"
#include "train/run/phases.h"
#include "train/run/recorded_run.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;

size_t occurrences(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t place = 0; (place = text.find(part, place)) != text.npos; place += part.size())
    ++count;
  return count;
}

class Report : public testing::Test {
 protected:
  static constexpr int kEpochSteps = 50;
  using Curve = std::function<double(int step)>;

  /// Writes a run of three epochs with a validation at the end of each.
  fs::path write_run(const std::string& name, const Curve& train, const Curve& validation,
                     int tokens_a_step = 512, int steps = 3 * kEpochSteps) {
    const fs::path folder = directory_ / name;
    make_directory(folder);
    MetricsFile file(folder / "metrics.jsonl");
    for (int step = 1; step <= steps; ++step) {
      const int epoch = (step - 1) / kEpochSteps + 1;
      file.append({.step = step,
                   .epoch = epoch,
                   .loss = train(step),
                   .accuracy = 0.25,
                   .lr = step <= 10 ? 1e-4 * step : 1e-3 * (1 - step / 200.),
                   .grad_norm = 1. / step,
                   .aux_loss = 2. / step,
                   .max_factor = 1 + 0.001 * step,
                   .max_state = 1000. / step,
                   .tokens = int64_t{step} * tokens_a_step,
                   .tokens_per_second = 1000. + step,
                   .seconds = 0.5 * step});
      if (step % kEpochSteps == 0)
        file.append({.step = step,
                     .epoch = epoch,
                     .split = "val",
                     .loss = validation(step),
                     .accuracy = 0.5,
                     .tokens = int64_t{step} * tokens_a_step,
                     .seconds = 0.5 * step + 0.1});
    }
    return folder;
  }
  fs::path good_run(const std::string& name, double level = 0, int tokens_a_step = 512) {
    return write_run(
        name, [=](int step) { return 4 - 0.01 * step + level; },
        [=](int step) { return 4.1 - 0.01 * step + level; }, tokens_a_step);
  }

  test::TemporaryDirectory directory_;
};

TEST_F(Report, SummarisesEachEpoch) {
  const RunReport run = read_run(good_run("good"));
  EXPECT_EQ(run.name, "good");
  ASSERT_EQ(run.epochs.size(), 3u);
  const EpochSummary& second = run.epochs[1];
  EXPECT_EQ(second.epoch, 2);
  EXPECT_EQ(second.first_step, 51);
  EXPECT_EQ(second.last_step, 100);
  EXPECT_NEAR(second.start, 3.49, 1e-9);
  EXPECT_NEAR(second.end, 3.0, 1e-9);
  EXPECT_NEAR(second.mean, 3.245, 1e-9);
  EXPECT_NEAR(second.minimum, 3.0, 1e-9);
  EXPECT_NEAR(second.maximum, 3.49, 1e-9);
  EXPECT_NEAR(second.accuracy, 0.25, 1e-9);
  EXPECT_NEAR(second.seconds, 25, 1e-9);
  ASSERT_TRUE(second.validation && run.best);
  EXPECT_NEAR(second.validation->loss, 3.1, 1e-9);
  EXPECT_EQ(run.best->step, 150);
  EXPECT_EQ(run.steps(), 150);
  EXPECT_EQ(run.tokens(), 150 * 512);
  EXPECT_NEAR(run.seconds(), 75.1, 1e-9);
  EXPECT_NEAR(run.median_speed, 1076, 1);
  EXPECT_TRUE(test::warnings_of(run).empty()) << test::warnings_of(run)[0];

  const std::vector<MetricsRow> rates = learning_rate_trace(run, 8);
  EXPECT_LE(rates.size(), 8u);
  EXPECT_EQ(rates.front().step, 1);
  EXPECT_EQ(rates.back().step, 150);
  EXPECT_TRUE(std::ranges::any_of(rates, [](const MetricsRow& row) { return row.step == 10; }))
      << "the peak";
}

TEST_F(Report, WarnsOfNonFiniteFigures) {
  const double nan = std::nan("");
  const RunReport run = read_run(write_run(
      "bad", [&](int step) { return step > 120 ? nan : 3.; },
      [&](int step) { return step > 100 ? nan : 3.1; }));
  ASSERT_EQ(test::warnings_of(run).size(), 2u);
  EXPECT_EQ(test::warnings_of(run)[0],
            "the loss is not finite at step 121 (30 of 150 rows). A lower "
            "--lr or --clip, or a longer --warmup helps");
  EXPECT_EQ(test::warnings_of(run)[1],
            "the validation loss is not finite at step 150 (1 of 3 rows). A "
            "lower --lr or --clip, or a longer --warmup helps");
  EXPECT_NEAR(run.epochs[2].mean, 3, 1e-9);
  EXPECT_EQ(run.best->step, 50);

  const RunReport nothing =
      read_run(write_run("nothing", [&](int) { return nan; }, [&](int) { return nan; }));
  EXPECT_FALSE(nothing.best);
  EXPECT_NE(report_text({nothing}, 80).find("WARNING"), std::string::npos);
  const std::string page = report_html({nothing});
  EXPECT_EQ(page.find("<figcaption>Loss"), std::string::npos);
  EXPECT_NE(page.find("<figcaption>Learning rate"), std::string::npos);
}

TEST_F(Report, WarnsOfOverfitting) {
  const auto falls = [](int step) { return 4 - 0.02 * step; };
  const RunReport rises = read_run(
      write_run("rises", falls, [](int step) { return step == 150 ? 3.0 : 3.5 - 0.01 * step; }));
  ASSERT_EQ(test::warnings_of(rises).size(), 1u);
  EXPECT_TRUE(test::warnings_of(rises)[0].starts_with(
      "overfitting: the validation loss rose from 2.5000 (step 100) to 3.0000 (step 150)"))
      << test::warnings_of(rises)[0];
  const RunReport by_heart =
      read_run(write_run("heart", falls, [](int step) { return 3.5 - 0.001 * step; }));
  ASSERT_EQ(test::warnings_of(by_heart).size(), 1u);
  EXPECT_NE(test::warnings_of(by_heart)[0].find("by heart"), std::string::npos)
      << test::warnings_of(by_heart)[0];
  // A training loss that rises too is not overfitting.
  EXPECT_EQ(text_of(read_run(write_run(
                                 "worse", [](int step) { return 2 + 0.01 * step; },
                                 [](int step) { return 2.1 + 0.01 * step; }))
                        .findings,
                    "overfitting"),
            "");
}

/// Validation windows are longer than training windows here.
TEST_F(Report, ComparesEqualWindows) {
  const auto run_with = [&](const std::string& name, double loss, double in_trained_window) {
    const fs::path folder = directory_ / name;
    make_directory(folder);
    MetricsFile file(folder / "metrics.jsonl");
    for (int step = 1; step <= 100; ++step)
      file.append({.step = step,
                   .epoch = 1,
                   .loss = 3 - 0.01 * step,
                   .accuracy = 0,
                   .lr = 1e-3,
                   .grad_norm = 1});
    file.append(
        {.step = 50, .epoch = 1, .split = "val", .loss = 2.5, .loss_in_trained_window = 2.55});
    file.append({.step = 100,
                 .epoch = 1,
                 .split = "val",
                 .loss = loss,
                 .loss_in_trained_window = in_trained_window});
    return read_run(folder);
  };
  const RunReport outgrown = run_with("outgrown", 8.5, 2.1);
  ASSERT_EQ(test::warnings_of(outgrown).size(), 1u);
  for (const char* part : {"outgrows the training's windows", "8.5000", "2.1000", "--seq"})
    EXPECT_NE(test::warnings_of(outgrown)[0].find(part), std::string::npos)
        << test::warnings_of(outgrown)[0];
  const RunReport not_finite = run_with("not_finite", std::nan(""), 2.1);
  ASSERT_EQ(test::warnings_of(not_finite).size(), 2u);
  EXPECT_NE(test::warnings_of(not_finite)[1].find("the loss is not finite, and 2.1000"),
            std::string::npos)
      << test::warnings_of(not_finite)[1];
  EXPECT_TRUE(test::warnings_of(run_with("good", 2.0, 2.1)).empty());
  EXPECT_TRUE(test::warnings_of(run_with("best", 2.45, 2.6)).empty())
      << "the loss in the longer windows is at its best";
  const RunReport overfitted = run_with("overfitted", 3.9, 4.0);
  ASSERT_EQ(test::warnings_of(overfitted).size(), 1u);
  EXPECT_TRUE(test::warnings_of(overfitted)[0].starts_with(
      "overfitting: the validation loss rose from 2.5500 (step 50) to 4.0000"))
      << test::warnings_of(overfitted)[0];
}

TEST_F(Report, ShowsTheLastSample) {
  const fs::path folder = good_run("good");
  std::ofstream(folder / "training_output.log")
      << "step 1\nsample of generated text after step 1:\nfirst\nend of the sample\nstep 2\nsample "
         "of generated text:\nTo be <&> not\n\nHAMLET\n"
         "end of the sample\ngoing on after step 2\nstep 3\n";
  const RunReport run = read_run(folder / "metrics.jsonl");
  EXPECT_EQ(run.sample, "To be <&> not\n\nHAMLET");
  EXPECT_NE(report_html({run}).find("<pre>To be &lt;&amp;> not\n\nHAMLET</pre>"),
            std::string::npos);
}

TEST_F(Report, WatchesRunsThatAreTraining) {
  const fs::path folder = good_run("run");
  std::ofstream(folder / "training_output.log")
      << "data: play.txt: 400 windows of 32, 100 steps an epoch, 300 in all; validation: none\n"
         "going on\ndata: play.txt: 400 windows of 32, 100 steps an epoch, 250 in all; "
         "validation: none\n";
  {
    const DirectoryLock training(folder);
    const RunReport run = read_run(folder);
    EXPECT_TRUE(run.live);
    EXPECT_EQ(run.planned_steps, 250);
    EXPECT_NEAR(run.seconds_left(), 50, 1e-9) << "100 steps of half a second";
    EXPECT_NE(watch_text({run}, {}, 60).find("bits/byte"), std::string::npos)
        << "what compares is the last to be dropped";
    const std::string text = watch_text({run}, {"other"}, 120);
    for (const char* part : {"150/250", "2.5950", "2.6000", "0:50", "1150", "other", "starting"})
      EXPECT_NE(text.find(part), text.npos) << part << " is not in\n" << text;
    const std::string page = report_html({run});
    EXPECT_EQ(occurrences(page, "http-equiv=\"refresh\""), 1u);
    EXPECT_NE(page.find("run is training: step 150 of 250, 0:50 left"), page.npos);
  }
  const RunReport run = read_run(folder);
  EXPECT_FALSE(run.live);
  EXPECT_EQ(report_html({run}).find("refresh"), std::string::npos);
  EXPECT_NE(watch_text({run}, {}, 120).find("ended"), std::string::npos);
  EXPECT_EQ(read_run(good_run("unknown")).planned_steps, 0);
  EXPECT_TRUE(std::isnan(read_run(directory_ / "unknown").seconds_left()));
}

/// The noise of a training loss, from batch to batch.
class Noise {
 public:
  explicit Noise(uint64_t seed, double size = 0.1) : random_(seed), normal_(0, size) {}
  double operator()() { return normal_(random_); }

 private:
  std::mt19937_64 random_;
  std::normal_distribution<> normal_;
};

std::vector<std::string> kinds_of(const RunReport& run) {
  std::vector<std::string> kinds;
  for (const Finding& finding : run.findings) kinds.push_back(finding.kind);
  return kinds;
}

/// Falling and steep enough at the end, as good runs do.
double falling(int step, int steps) {
  return 1.2 + 2.5 * std::exp(-6. * step / steps) - 0.15 * step / steps;
}

using Kinds = std::vector<std::string>;

TEST_F(Report, FindsNothingInGoodRunsWithNoise) {
  for (const uint64_t seed : {1, 2, 3})
    for (const int steps : {30, 250, 500}) {
      Noise noise(seed, 0.03 * static_cast<double>(seed));
      const RunReport run = read_run(write_run(
          fmt::format("good{}_{}", seed, steps),
          [&](int step) { return falling(step, steps) + noise(); },
          [&](int step) { return falling(step, steps) + 0.1; }, 512, steps));
      EXPECT_EQ(kinds_of(run), Kinds()) << seed << " " << steps;
    }
}

TEST_F(Report, FindsAPlateau) {
  for (const uint64_t seed : {1, 2, 3}) {
    Noise noise(seed, 0.02);
    const auto flat = [&](int step) { return 2.5 + 2 * std::exp(-step / 20.) + noise(); };
    const RunReport run =
        read_run(write_run(fmt::format("flat{}", seed), flat, [](int) { return 2.6; }, 512, 400));
    EXPECT_EQ(kinds_of(run), Kinds{"plateau"});
    EXPECT_NE(run.findings[0].text.find("More such steps bring little"), std::string::npos);
    const RunReport nothing = read_run(write_run(
        fmt::format("nothing{}", seed), [&](int) { return 4.6 + noise(); }, [](int) { return 4.6; },
        512, 300));
    EXPECT_EQ(kinds_of(nothing), Kinds{"plateau"});
    EXPECT_NE(nothing.findings[0].text.find("learns next to nothing"), std::string::npos);
  }
  Noise noise(1, 0.02);
  EXPECT_EQ(kinds_of(read_run(write_run(
                "brief", [&](int) { return 4.6 + noise(); }, [](int) { return 4.6; }, 512, 150))),
            Kinds())
      << "too few steps to tell";
  Noise loud(1, 1);
  EXPECT_EQ(kinds_of(read_run(write_run(
                "loud", [&](int) { return 4.6 + loud(); }, [](int) { return 4.6; }, 512, 250))),
            Kinds())
      << "the noise hides what the loss does";
  EXPECT_EQ(kinds_of(read_run(write_run(
                "better", [&](int) { return 2.5 + noise(); },
                [](int step) { return 2.8 - 0.001 * step; }, 512, 300))),
            Kinds())
      << "the validation still falls";
}

TEST_F(Report, FindsALearningRateThatWasTooHigh) {
  for (const uint64_t seed : {1, 2, 3}) {
    Noise noise(seed, 0.05);
    const int steps = 400;
    const RunReport diverged = read_run(write_run(
        fmt::format("diverged{}", seed),
        [&](int step) { return (step < 200 ? falling(step, steps) : 3.2) + noise(); },
        [](int) { return 3; }, 512, steps));
    EXPECT_EQ(kinds_of(diverged), Kinds{"rate"});
    EXPECT_NE(diverged.findings[0].text.find("rose from"), std::string::npos);
    const RunReport jumps = read_run(write_run(
        fmt::format("jumps{}", seed),
        [&](int step) {
          return (step % 90 < 3 && step > 80 ? 2 : 1) * falling(step, steps) + noise();
        },
        [&](int step) { return falling(step, steps); }, 512, steps));
    EXPECT_EQ(kinds_of(jumps), Kinds{"rate"});
    EXPECT_NE(jumps.findings[0].text.find("jumped 4 times"), std::string::npos)
        << jumps.findings[0].text;
    const RunReport once = read_run(write_run(
        fmt::format("once{}", seed),
        [&](int step) { return (step == 300 ? 2 : 1) * falling(step, steps) + noise(); },
        [&](int step) { return falling(step, steps); }, 512, steps));
    EXPECT_EQ(kinds_of(once), Kinds()) << "one odd batch is no sign";
  }
  Noise noise(1, 2);
  const RunReport at_once = read_run(write_run(
      "at_once", [&](int step) { return step < 2    ? 4.2
                                        : step < 30 ? 18 + noise()
                                                    : 6.5; },
      [](int) { return 6.3; }, 512, 60));
  EXPECT_EQ(kinds_of(at_once), Kinds{"rate"});
  EXPECT_NE(at_once.findings[0].text.find("above the 4.2000 of the first step"), std::string::npos);
}

TEST_F(Report, ShowsFindingsInTextJsonAndPage) {
  const RunReport run =
      read_run(write_run("flat", [](int) { return 3.; }, [](int) { return 3.1; }, 512, 300));
  ASSERT_EQ(kinds_of(run), Kinds{"plateau"});
  EXPECT_NE(report_text({run}, 100).find("WARNING"), std::string::npos);
  EXPECT_NE(report_html({run}).find("check bad"), std::string::npos);
  const nlohmann::ordered_json findings = to_json({run})[0]["findings"];
  EXPECT_EQ(findings[0]["kind"], "plateau");
  EXPECT_EQ(findings[0]["serious"], true);
  EXPECT_EQ(findings[0]["text"], run.findings[0].text);
}

TEST_F(Report, RefusesFoldersThatAreNoRun) {
  test::expect_error([&] { read_run(directory_ / "missing"); }, {"missing", "no such folder"});
  test::expect_error([&] { read_run(directory_.path()); }, {"no metrics.jsonl", "--out of train"});
  std::ofstream(directory_ / "metrics.jsonl");
  test::expect_error([&] { read_run(directory_.path()); }, {"metrics.jsonl", "no training step"});
  std::ofstream(directory_ / "metrics.jsonl") << "{}\n";
  test::expect_error([&] { read_run(directory_.path()); }, {"metrics.jsonl: line 1", "not a row"});
}

TEST_F(Report, ComparesRuns) {
  const std::vector<RunReport> runs =
      read_runs({good_run("a/run", 0.5).string(), good_run("b/run").string(),
                 (directory_ / "b/run/").string()});
  ASSERT_EQ(runs.size(), 2u) << "one was named twice";
  EXPECT_EQ(runs[0].name, "a/run");
  EXPECT_EQ(runs[1].name, "b/run");
  const std::string text = report_text(runs, 200);
  EXPECT_LT(text.find("b/run  "), text.find("a/run  ")) << text;
  EXPECT_EQ(common_axis(runs), "step");
  EXPECT_EQ(
      common_axis(read_runs({(directory_ / "a/run").string(), good_run("c", 0, 1024).string()})),
      "tokens");
  const nlohmann::ordered_json json = to_json(runs);
  EXPECT_EQ(json[1]["name"], "b/run");
  EXPECT_NEAR(json[1]["epochs"][2]["mean"].get<double>(), 2.745, 1e-9);
  EXPECT_NEAR(json[1]["best_validation"]["loss"].get<double>(), 2.6, 1e-9);
}

/// Of two runs with different tokens the one with the higher loss may be the better one.
TEST_F(Report, ComparesDifferentTokensByBitsPerByte) {
  const auto run_of = [&](const std::string& name, double loss, double bits) {
    const fs::path folder = directory_ / name;
    make_directory(folder);
    MetricsFile file(folder / "metrics.jsonl");
    file.append({.step = 1, .epoch = 1, .loss = loss, .accuracy = 0, .lr = 1, .grad_norm = 1});
    file.append({.step = 1, .epoch = 1, .split = "val", .loss = loss, .bits_per_byte = bits});
    return read_run(folder);
  };
  const RunReport pieces = run_of("pieces", 4, 2.1375), characters = run_of("characters", 1.6, 2.3);
  EXPECT_EQ(best_first({characters, pieces}), (std::vector<size_t>{1, 0}));
  const RunReport earlier = run_of("earlier", 1.8, MetricsRow::kNone),
                  failed = run_of("failed", std::nan(""), MetricsRow::kNone);
  EXPECT_EQ(best_first({pieces, failed, earlier, characters}), (std::vector<size_t>{3, 2, 0, 1}))
      << "by loss: an earlier version's run has no other figure";

  const std::vector<RunReport> both = {characters, pieces};
  const std::string text = report_text(both, 200), page = report_html(both);
  EXPECT_LT(text.find("pieces "), text.find("characters ")) << text;
  EXPECT_NE(text.find("perplexity 54.598, 2.1375 bits a byte"), text.npos) << text;
  EXPECT_LT(page.find("pieces</td><td>2.1375</td>"), page.find("characters</td><td>2.3000</td>"));
  EXPECT_NE(page.find("<figcaption>Validation, bits per byte"), page.npos);
  EXPECT_NE(report_html({pieces}).find("<b>2.1375</b><span>its bits per byte"), page.npos);
  EXPECT_EQ(report_html({earlier}).find("bits per byte"), page.npos);
  EXPECT_NE(watch_text({pieces}, {"new"}, 200).find("2.1375"), text.npos);
  EXPECT_EQ(to_json(both)[1]["best_validation"]["bits_per_byte"], 2.1375);
}

TEST_F(Report, UnreadableRunIsLeftOutAmongOthers) {
  const std::string empty = (directory_ / "empty").string(),
                    damaged = (directory_ / "damaged").string();
  fs::create_directory(empty);
  fs::create_directory(damaged);
  std::ofstream(fs::path(damaged) / "metrics.jsonl") << "{}\n";
  std::vector<std::string> warnings;
  const auto warn = [&](const std::string& problem) { warnings.push_back(problem); };
  const std::vector<RunReport> runs = read_runs({empty, good_run("good").string(), damaged}, warn);
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].name, "good");
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_NE(warnings[0].find("no metrics.jsonl"), std::string::npos) << warnings[0];
  EXPECT_NE(warnings[1].find("damaged/metrics.jsonl: line 1"), std::string::npos) << warnings[1];
  test::expect_error([&] { read_runs({empty, damaged}, warn); }, {"none of the 2 runs"});
  test::expect_error([&] { read_runs({empty}, warn); }, {"no metrics.jsonl"});
}

TEST_F(Report, TextFitsItsWidth) {
  const std::vector<RunReport> one = read_runs({good_run("a").string()}),
                               two =
                                   read_runs({(directory_ / "a").string(), good_run("b").string()});
  for (const size_t width : {40, 79, 120, 200})
    for (const std::vector<RunReport>* runs : {&one, &two}) {
      std::istringstream lines(report_text(*runs, width));
      for (std::string line; std::getline(lines, line);)
        if (!line.starts_with("run ")) {  // a path is not wrapped
          EXPECT_LE(line.size(), width) << line;
        }
    }
  const std::string text = report_text(one, 120);
  for (const char* part :
       {"epoch", "51-100", "3.2450", "change", "-13.4 %",
        "learning rate  step 1: 1.00e-04, step 10: 1.00e-03",
        "gradient norm  largest 1.000 (step 1)", "auxiliary loss first 2.0000, last 0.0133",
        "largest factor of a step 1.1500 (step 150), largest |h| 1000 (step 1)",
        "every figure is finite", "loss: . training, V validation"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " is not in:\n" << text;
}

TEST_F(Report, PageIsSelfContained) {
  const std::vector<RunReport> runs =
      read_runs({good_run("a<b'&\"").string(), good_run("other", 1).string()});
  for (const std::vector<RunReport>& some : {runs, {runs[0]}}) {
    const std::string page = report_html(some);
    EXPECT_TRUE(page.starts_with("<!DOCTYPE html>"));
    for (const char* tag : {"html", "head", "body", "style", "figure", "svg", "table", "tbody",
                            "tr", "td", "div", "script"})
      EXPECT_EQ(
          occurrences(page, fmt::format("<{}>", tag)) + occurrences(page, fmt::format("<{} ", tag)),
          occurrences(page, fmt::format("</{}>", tag)))
          << tag;
    for (const char* bad : {"http:", "https:", "@import", "url(", " src=", "nan", "inf,", "a<b"})
      EXPECT_EQ(page.find(bad), std::string::npos) << bad;
    for (const char* title :
         {"Loss", "Validation loss", "Learning rate", "Gradient norm", "Tokens per second",
          "Auxiliary loss", "Largest factor of the state", "Largest |h|"})
      EXPECT_EQ(occurrences(page, fmt::format("<figcaption>{} ", title)), 1u) << title;
    EXPECT_EQ(occurrences(page, "<svg class='plot wide'"), 8u);
    EXPECT_EQ(occurrences(page, "<svg class='plot narrow'"), 8u);
  }
}

TEST_F(Report, PageIsValidForAnyNames) {
  const std::vector<RunReport> runs =
      read_runs({good_run("caf\xe9\x1b</script>").string(), good_run("\xff").string()});
  for (const std::vector<RunReport>& some : {runs, {runs[0]}}) {
    const std::string page = report_html(some);
    EXPECT_EQ(visible(page), page);
    EXPECT_NE(page.find("\\x1b"), page.npos);
  }
  const std::string json = to_json(runs).dump();
  EXPECT_EQ(name_of_text(nlohmann::json::parse(json)[1]["name"].get<std::string>()), "\xff");
}

TEST_F(Report, ALongRunMakesNoLargePage) {
  const fs::path folder = write_run(
      "long", [](int step) { return 2 + std::sin(step); }, [](int) { return 2; }, 512, 20'000);
  EXPECT_LT(report_html({read_run(folder)}).size(), 400'000u);
}

// Also if they are the smallest and largest representable numbers.
TEST_F(Report, ExtremeFiguresAreShown) {
  constexpr double kLargest = std::numeric_limits<double>::max(),
                   kSmallest = std::numeric_limits<double>::denorm_min();
  int number = 0;
  for (const double first : {0., kSmallest, 1., 1e300, kLargest})
    for (const double second : {0., kSmallest, 3e-310, 1., kLargest})
      for (const double seconds : {1., 1e12, kLargest}) {
        SCOPED_TRACE(fmt::format("{} {} {}", first, second, seconds));
        const fs::path folder = directory_ / fmt::format("{}", number++);
        make_directory(folder);
        MetricsFile file(folder / "metrics.jsonl");
        for (int step = 1; step <= 4; ++step) {
          const double loss = step <= 2 ? first : second;
          MetricsRow row{.step = step,
                         .epoch = step,
                         .loss = loss,
                         .accuracy = 0,
                         .lr = loss,
                         .grad_norm = loss,
                         .tokens = INT64_MAX - 10 + step};
          row.tokens_per_second = loss;
          row.seconds = seconds * step / 4;
          file.append(row);
          row.split = "val";
          file.append(row);
        }
        const std::vector<RunReport> runs = {read_run(folder)};
        const std::string text = report_text(runs, 120), page = report_html(runs);
        EXPECT_EQ(text.find("nan"), text.npos) << text;
        for (const char* bad : {"nan", "inf,", "infinity"})
          EXPECT_EQ(page.find(bad), page.npos) << bad << page.substr(page.find(bad) - 300, 600);
      }
}

TEST_F(Report, NoRelativeChangeFromALossOf0) {
  const std::string text =
      report_text({read_run(write_run(
                      "zero", [](int step) { return step <= kEpochSteps ? 0 : 1. / step; },
                      [](int) { return 1; }))},
                  200);
  EXPECT_EQ(text.find("nan %"), text.npos) << text;
  EXPECT_EQ(text.find("inf %"), text.npos) << text;
}

TEST(TextPlot, MarksAreAtTheValues) {
  EXPECT_EQ(text_plot({{'x', {{0, 0}, {10, 10}, {20, 20}}}}, "step", 30, 5),
            "    20 +                    x\n"
            "       |\n"
            "       |          x\n"
            "       |\n"
            "     0 +x\n"
            "       ++-------------------+\n"
            "        0       step       20\n");
  EXPECT_EQ(text_plot({}, "step", 80, 20), "");
  EXPECT_NE(text_plot({{'x', {{1, 3}}}}, "step", 80, 20).find('x'), std::string::npos);
}

TEST(TextTable, AsCsvAndMarkdown) {
  const TableRows rows = {{"name", "a|b"}, {"x,\"y\"\n", "2"}, {"short"}};
  EXPECT_EQ(csv_table(rows), "name,a|b\n\"x,\"\"y\"\"\n\",2\nshort,\n");
  EXPECT_EQ(markdown_table(rows),
            "| name | a\\|b |\n|---|---:|\n| x,\"y\"\\x0a | 2 |\n| short |  |\n");
}

TEST(TextTable, DropsLastColumnsThatDoNotFit) {
  const std::vector<std::vector<std::string>> rows = {{"name", "a", "bbbb"}, {"x", "100", "2"}};
  EXPECT_EQ(text_table(rows, 80), "name    a  bbbb\nx     100     2\n");
  EXPECT_EQ(text_table(rows, 14), "name    a\nx     100\n");
  EXPECT_EQ(text_table(rows, 1), "name\nx\n");
  EXPECT_EQ(text_table({{"a\x1b\n", "b"}, {"c", "d"}}, 80), "a\\x1b\\x0a  b\nc          d\n");
}

TEST(PlotAxis, TicksAreRoundNumbersInRange) {
  using Scale = PlotAxis::Scale;
  EXPECT_EQ(PlotAxis(0, 20, 100, Scale::kLinear).ticks(5), (std::vector<double>{0, 5, 10, 15, 20}));
  EXPECT_EQ(PlotAxis(1, 150, 100, Scale::kLinear).ticks(4), (std::vector<double>{50, 100, 150}));
  EXPECT_EQ(PlotAxis(0.5, 30, 100, Scale::kLogarithmic).ticks(7),
            (std::vector<double>{0.5, 1, 2, 5, 10, 20}));
  for (const Scale scale : {Scale::kLinear, Scale::kLogarithmic})
    for (double low = 1e-6; low < 1e6; low *= 7.3)
      for (double ratio = 1.01; ratio < 1e12; ratio *= 3.7)
        for (const int at_most : {2, 5, 10}) {
          const PlotAxis axis(low, low * ratio, 100, scale);
          const std::vector<double> ticks = axis.ticks(at_most);
          EXPECT_LE(std::ssize(ticks), at_most);
          if (scale == scale_for(low, low * ratio) && at_most > 2) {
            EXPECT_GE(ticks.size(), 1u) << low << " .. " << low * ratio;
          }
          for (const double tick : ticks)
            EXPECT_TRUE(axis.place(tick) >= -1e-6 && axis.place(tick) <= 100 + 1e-6) << tick;
        }
  const PlotAxis empty(3, 3, 100, Scale::kLinear);
  EXPECT_TRUE(empty.place(3) > 0 && empty.place(3) < 100);
}

TEST(PlotAxis, LabelsAreShort) {
  EXPECT_EQ(axis_label(0), "0");
  EXPECT_EQ(axis_label(0.1 + 0.2), "0.3");
  EXPECT_EQ(axis_label(1500), "1500");
  EXPECT_EQ(axis_label(20000), "20k");
  EXPECT_EQ(axis_label(1.5e6), "1.5M");
  EXPECT_EQ(axis_label(3e-5), "3e-5");
  EXPECT_EQ(axis_label(2.5e-4), "2.5e-4");
  EXPECT_EQ(axis_label(1e-3), "0.001");
  EXPECT_EQ(axis_label(1.25e9), "1.25e9");
}

/// A run that grows: its best validation is of the last phase, as best_model is.
class ReportOfGrowing : public test::SmallRuns {};

TEST_F(ReportOfGrowing, ShowsThePhases) {
  TrainOptions run = options("grown");
  run.grow = with_fields("tiny+dim=32:6,tiny+dim=64:2", {"heads=2", "layers=1", "mem_slots=64"});
  run.config = parse_phases(run.grow)[0].config;
  run.eval_every = 2;
  ASSERT_EQ(train(run), 0);
  // the second phase is worse than the first one
  const fs::path metrics = run.out / "metrics.jsonl";
  std::vector<MetricsRow> rows = read_metrics(metrics);
  fs::remove(metrics);
  MetricsFile file(metrics);
  for (MetricsRow& row : rows) {
    if (row.split == "val") row.loss = row.step <= 6 ? 2 + 0.01 * row.step : 3;
    file.append(row);
  }

  const RunReport report = read_run(run.out);
  ASSERT_EQ(report.phases.size(), 2u);
  EXPECT_EQ(report.phases[0].first_step, 1);
  EXPECT_EQ(report.phases[0].last_step, 6);
  ASSERT_TRUE(report.phases[0].best);
  EXPECT_EQ(report.phases[0].best->step, 2);
  EXPECT_EQ(report.phases[1].first_step, 7);
  EXPECT_EQ(report.phases[1].last_step, 8);
  ASSERT_TRUE(report.best);
  EXPECT_EQ(report.best->step, 8) << "a loss of an earlier phase is not that of best_model";
  EXPECT_TRUE(test::warnings_of(report).empty()) << test::warnings_of(report)[0];
  EXPECT_EQ(to_json({report})[0]["phases"][1]["best_validation"]["loss"], 3);
  EXPECT_EQ(occurrences(report_html({report}), "<line class='mark'"), 28u)
      << "two phases in seven plots of two widths";
  const std::string text = report_text({report}, 100);
  EXPECT_NE(text.find("tiny+dim=32+heads=2+layers=1+mem_slots=64: steps 1 to 6, validation"),
            text.npos)
      << text;
}

}  // namespace
}  // namespace mmrec
