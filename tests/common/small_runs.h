#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "model/parameters.h"
#include "runtime/threads.h"
#include "support/atomic_file.h"
#include "tests/common/kernel_test.h"
#include "tests/common/small_config.h"
#include "tests/common/temporary_directory.h"
#include "train/data/corpus.h"
#include "train/data/split.h"
#include "train/data/windows.h"
#include "train/infer/evaluation.h"
#include "train/report/run_report.h"
#include "train/run/checkpoint.h"
#include "train/run/metrics.h"
#include "train/run/options.h"

namespace mmrec::test {

namespace fs = std::filesystem;

inline std::vector<float> values(const Tensor& tensor) {
  return {tensor.data(), tensor.data() + tensor.count()};
}

/// Returns the texts of a run's serious findings.
inline std::vector<std::string> warnings_of(const RunReport& run) {
  std::vector<std::string> texts;
  for (const Finding& finding : run.findings)
    if (finding.serious) texts.push_back(finding.text);
  return texts;
}

/// Returns path and content of all files in a folder.
inline std::map<std::string, std::string> contents(const fs::path& folder) {
  std::map<std::string, std::string> contents;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) contents[entry.path().string()] = read_file(entry.path());
  return contents;
}

/// Fixture: runs of a small model on the beginning of a play.
class SmallRuns : public testing::Test {
 protected:
  SmallRuns() {
    const std::string play =
        read_file(fs::path(MMREC_SOURCE_DIR) / "data/tiny_shakespeare/input.txt");
    std::ofstream(directory_ / "play.txt") << play.substr(0, 6000);
  }

  TrainOptions options(const std::string& out) const {
    TrainOptions options;
    options.config = small_config(5000);
    options.data = (directory_ / "play.txt").string();
    options.validation_split = "0.1";
    options.out = directory_ / out;
    options.steps = 4;
    options.batch = 4;
    options.sequence = 32;
    options.optimizer.learning_rate = 3e-3f;
    options.minimum_rate = "3e-4";
    options.warmup = 5;
    options.validation_sequence = 64;
    options.save_every = 0;
    options.sample_tokens = 0;
    options.quiet = true;
    return options;
  }

  static std::vector<MetricsRow> rows(const TrainOptions& options, std::string_view split) {
    std::vector<MetricsRow> rows = read_metrics(options.out / "metrics.jsonl");
    std::erase_if(rows, [&](const MetricsRow& row) { return row.split != split; });
    return rows;
  }

  static std::set<std::string> entries(const fs::path& folder) {
    std::set<std::string> names;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder))
      names.insert(entry.path().filename().string());
    return names;
  }

  /// Returns the loss on the run's validation text with a checkpoint's weights.
  static double validation_loss(const TrainOptions& options, const fs::path& folder) {
    const Checkpoint checkpoint(folder);
    Parameters parameters(checkpoint.config);
    checkpoint.read_weights(parameters);
    const Corpus corpus =
        load_corpus(options.data, parse_validation_split(options.validation_split));
    const WindowSet windows(checkpoint.tokenizer.encode(corpus.validation, "test"),
                            options.validation_sequence, "the validation text");
    Evaluation evaluation(checkpoint.config,
                          model_vocabulary(checkpoint.config, checkpoint.tokenizer), parameters,
                          options.seed, windows);
    const LossSum sum = evaluation.run();
    return sum.loss / static_cast<double>(sum.tokens);
  }

  TemporaryDirectory directory_;
  ScopedThreads one_thread_{1};  // for so small a model more threads would only wait for each other
};

}  // namespace mmrec::test
