#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <span>
#include <string>
#include <type_traits>
#include <variant>

#include "model/config.h"
#include "model/optimizer.h"
#include "support/bounds.h"

namespace mmrec {

constexpr int64_t kAuto = -1;

/// What `train` is told. Defaults are the documented run's.
struct TrainOptions {
  Config config;
  int vocabulary = 0;  ///< --vocab: the tokenizer's limit and the embedding's rows; 0: auto
  std::string data = "sample";
  std::filesystem::path out;
  bool overwrite = false;
  std::string init;           ///< a checkpoint whose weights, configuration and tokenizer a new run starts from; "": none
  bool extend_vocab = false;  ///< give the characters that its tokenizer lacks ids of their own
  int epochs = 3;
  int64_t steps = 0;  ///< of the whole run; 0: what the epochs come to
  int batch = 2, sequence = 256;
  int accumulate = 1;  ///< batches a step
  OptimizerSettings optimizer;
  std::string minimum_rate = "0.1x";  ///< as parse_minimum_rate takes it
  int64_t warmup = kAuto;             ///< steps; kAuto: as warmup_steps() says
  float dropout = 0.1f;
  std::string validation_split = "auto";  ///< as parse_validation_split takes it
  int validation_sequence = 256;
  int64_t validation_tokens = kAuto;  ///< of a validation, at most; 0: the whole text; kAuto: as validation_tokens() says
  int64_t eval_every = 0;             ///< steps between validations; 0: at the end of each epoch
  int patience = 3;                   ///< validations without a better loss; 0: no early stopping
  int64_t save_every = 100;           ///< steps; 0: only at the end
  int keep = 3;                       ///< checkpoints of steps that stay on disk
  int64_t sample_every = 0;           ///< steps between samples of generated text; 0: only at the end
  int64_t sample_tokens = 300;        ///< a sample's length
  bool tensorboard = false;           ///< writes event files beside metrics.jsonl
  uint64_t seed = 42;
  bool quiet = false;
  bool profile = false;
  std::string program = "train";  ///< as the user called it, for the command line that resumes
};

/// A row of the table of train's options, from which come the command line, the file of --options, what a checkpoint keeps, the checks of
/// ranges, what a resumed run compares, and what a search may set. Defaults are those of TrainOptions.
struct TrainOption {
  using Member = std::variant<bool TrainOptions::*, int TrainOptions::*, int64_t TrainOptions::*, uint64_t TrainOptions::*, float TrainOptions::*,
                              float OptimizerSettings::*, std::string TrainOptions::*, std::filesystem::path TrainOptions::*>;
  /// How a value is written, beside what the member's type says (a bool is a flag): also as the word auto, which is kAuto; or as
  /// parse_vocabulary() takes it.
  enum class Form { kPlain, kOrAuto, kVocabulary };
  /// Of the run: a checkpoint keeps it, and a search may set it. Or of one call of the program.
  enum class Scope { kRun, kCall };
  /// Given to a run that goes on, it counts from now on; or it must be what it was, for it decides which text a step takes, what the model is
  /// or how losses compare; or it says where and how a new run begins.
  enum class Resume { kOverrides, kIsFixed, kIsForNewRuns };

  const char* name;  ///< on the command line, without dashes, and in state.json
  Member member;
  const char* help;    ///< nullptr: every program has the option
  Bounds bounds = {};  ///< of a number; the default is always allowed, it may stand for something (kAuto, 0)
  Resume resume = Resume::kOverrides;
  Scope scope = Scope::kRun;
  Form form = Form::kPlain;

  /// Calls `visit` with its value in each of `options`, which may be const.
  template <class Visit, class... Options>
  void visit(Visit visit, Options&... options) const {
    const auto value = [](auto place, auto& all) -> auto& {
      if constexpr (std::is_invocable_v<decltype(place), decltype(all)>)
        return std::invoke(place, all);
      else
        return std::invoke(place, all.optimizer);
    };
    std::visit([&](auto place) { visit(value(place, options)...); }, member);
  }
};

/// The table, in the order of --help.
std::span<const TrainOption> train_option_table();

/// Throws a UsageError for values that make no sense, also those that only do when rounded to a float.
void check_options(const TrainOptions& options);

/// The options that a checkpoint keeps for --resume: those of the run. The configuration has a file of its own.
nlohmann::json to_json(const TrainOptions& options);
/// `where` (a file's name) goes into the error for an unknown field or a wrong type.
TrainOptions options_from_json(const nlohmann::json& json, const std::string& where);

/// Sets in `run`, the options that a run was begun with, those of `given` that have one of these names. A validation that is auto stays what
/// it was, epochs without steps take the place of the steps. Throws a UsageError for a warm-up that is auto: the run has one.
void override_options(TrainOptions& run, const TrainOptions& given, const std::set<std::string>& names);
/// Throws a UsageError where a resumed run's options would make it another run: where one that is fixed differs.
void check_fixed_options(const TrainOptions& saved, const TrainOptions& now);

/// Steps of the warm-up of a run of `steps`. Where the options leave it open: 100 with the built-in corpus, and with any other text at most
/// a tenth of the steps.
int64_t warmup_steps(const TrainOptions& options, int64_t steps);

/// Steps of the whole run. Throws a UsageError where its tokens are more than 64 bits can count.
int64_t total_steps(const TrainOptions& options, int steps_per_epoch);
/// Tokens of a validation, at most; 0: the whole text. Where the options leave it open, a fortieth of what is trained on between two
/// validations, which takes about 1 % of the time: a token forward takes a third of one forward and backward. But at least 10,000,
/// so that the figure means something, and at most 500,000, beyond which it hardly gets more precise.
int64_t validation_tokens(const TrainOptions& options, int steps_per_epoch);
/// Tokens of a validation window: a text that is shorter than its windows is one window. 0: there is no validation.
int validation_window(const TrainOptions& options, int64_t tokens);
/// Tokens of the pieces in which its windows are measured too, where they are longer than the training's: as many as those have; else 0.
int validation_piece(const TrainOptions& options, int window);

}  // namespace mmrec
