#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <type_traits>
#include <variant>

#include "model/config.h"
#include "model/optimizer.h"
#include "support/bounds.h"
#include "support/stopwatch.h"

namespace mmrec {

constexpr int64_t kAuto = -1;

/// Options of `train`. The defaults are those of the documented run.
struct TrainOptions {
  Config config;
  int vocabulary = 0;  ///< --vocab: limit of the tokenizer and rows of the embedding; 0: auto
  std::string data = "sample";
  /// of a text file: char, bytes or bpe (see TokenKind); auto: the prepared folder's or the
  /// checkpoint's, else see tokens_of_run()
  std::string tokenizer = "auto";
  std::filesystem::path out;
  bool overwrite = false;
  /// checkpoint that gives a new run its weights, configuration and tokenizer; "": none
  std::string init;
  /// sizes to train one after the other, and their steps; see parse_phases. "": one size
  std::string grow;
  bool exact = false;  ///< with grow: GrowthRule::kExact
  /// what chooses the options that nobody gave: documented (the defaults below), text, or auto:
  /// documented for the built-in corpus, text for any other; see recipe.h
  std::string recipe = "documented";
  std::string time;           ///< of a new run, see parse_duration(); "": as its steps take
  Stopwatch since_start;      ///< of the command, what time counts from
  bool extend_vocab = false;  ///< add ids for characters missing in the checkpoint's tokenizer
  int epochs = 3;
  int64_t steps = 0;  ///< of the whole run; 0: computed from the epochs
  int batch = 2, sequence = 256;
  int accumulate = 1;              ///< batches per step, its parts
  bool shard_optimizer = false;    ///< each rank has a part of the moments
  std::string allreduce = "tree";  ///< order in which ranks add gradients; see GradientSum::Order
  bool recompute = false;          ///< see Model::Mode::kRecomputing
  std::string precision = "float32";  ///< of the factors of products; see parse_precision()
  int carry = 1;  ///< consecutive windows that a state is handed through; see BatchOrder
  OptimizerSettings optimizer;
  std::string minimum_rate = "0.1x";  ///< see parse_minimum_rate
  int64_t warmup = kAuto;             ///< steps; kAuto: see warmup_steps()
  float dropout = 0.1f;
  std::string validation_split = "auto";  ///< see parse_validation_split
  int validation_sequence = 256;
  /// limit per validation; 0: the whole text; kAuto: see validation_tokens()
  int64_t validation_tokens = kAuto;
  int64_t eval_every = 0;  ///< steps between validations; 0: at the end of each epoch
  int patience = 3;        ///< validations without improvement before stopping early; 0: never stop
  int64_t save_every = 100;     ///< steps; 0: only at the end
  int keep = 3;                 ///< number of step checkpoints kept on disk
  int64_t sample_every = 0;     ///< steps between samples of generated text; 0: only at the end
  int64_t sample_tokens = 300;  ///< length of a sample
  bool tensorboard = false;     ///< also write event files
  uint64_t seed = 42;
  bool quiet = false;
  bool profile = false;
  std::set<std::string> given;    ///< names of the options that somebody gave
  std::string trace;              ///< file for the trace of one step; "": none
  std::string until;              ///< see last_step_of_call(); "": the end of the run
  std::string program = "train";  ///< as the user called it; for the printed resume command
};

/// A row of the table of train's options. The table drives the command line, the --options file,
/// the options in a checkpoint, range checks, the comparison on resume and what a search may set.
/// Default values are those of TrainOptions.
struct TrainOption {
  using Member =
      std::variant<bool TrainOptions::*, int TrainOptions::*, int64_t TrainOptions::*,
                   uint64_t TrainOptions::*, float TrainOptions::*, int OptimizerSettings::*,
                   float OptimizerSettings::*, std::string OptimizerSettings::*,
                   std::string TrainOptions::*, std::filesystem::path TrainOptions::*>;
  /// Syntax of a value, in addition to the member's type (a bool is a flag). kOrAuto: also the word
  /// auto, stored as kAuto. kVocabulary: see parse_vocabulary().
  enum class Form { kPlain, kOrAuto, kVocabulary };
  /// kRun: belongs to the run; a checkpoint stores it and a search may set it. kCall: belongs to
  /// one call of the program.
  enum class Scope { kRun, kCall };
  /// Meaning for a resumed run. kOverrides: applies from now on. kIsFixed: must not change, because
  /// it decides the text of a step, the model, or how losses compare. kIsForNewRuns: says where and
  /// how a new run begins.
  enum class Resume { kOverrides, kIsFixed, kIsForNewRuns };

  const char* name;  ///< on the command line (without dashes) and in state.json
  Member member;
  const char* help;  ///< nullptr: an option of every program
  /// of a number; the default is always allowed, it may be a marker (kAuto, 0)
  Bounds bounds = {};
  Resume resume = Resume::kOverrides;
  Scope scope = Scope::kRun;
  Form form = Form::kPlain;

  /// Calls `visit` with the option's value in each of `options`, which may be const.
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

/// The options that say how long a run is; a run has one of them at most.
constexpr const char* kLengthOptions[] = {"grow", "time", "steps", "epochs"};
/// Throws a UsageError if more than one of them is among the names that somebody gave.
void check_one_length(const std::set<std::string>& given);

/// The options that only Muon reads; a run with another optimizer refuses them.
constexpr const char* kMuonOptions[] = {"muon-lr", "muon-decay", "muon-every"};

/// Throws a UsageError for impossible values, also for values that become impossible when rounded
/// to a float, and for options of Muon that somebody gave to another optimizer.
void check_options(const TrainOptions& options);

/// Copies the options with these names from `given` to `run`, the options the run began with. An
/// automatic validation size keeps its resolved value; epochs without steps replace the steps. With
/// --lr alone, Muon's rate changes in proportion.
/// Throws a UsageError for an automatic warm-up, as the run's warm-up is already fixed, and for
/// Muon's options if the run's optimizer is another one.
void override_options(TrainOptions& run, const TrainOptions& given,
                      const std::set<std::string>& names);
/// Throws a UsageError if an option that is fixed for a resumed run differs.
void check_fixed_options(const TrainOptions& saved, const TrainOptions& now);

/// Returns the warm-up steps of a run of `steps` steps. Automatic: 100, and where has_recipe()
/// holds at most a tenth of the steps.
int64_t warmup_steps(const TrainOptions& options, int64_t steps);

/// Returns the steps of the whole run. Throws a UsageError if its tokens overflow 64 bits.
int64_t total_steps(const TrainOptions& options, int steps_per_epoch);
/// Returns the step of a run of `steps` steps with which TrainOptions::until ends a call: "500",
/// or, of a part of the run such as "0.25x", the first step that completes it. "": the last step.
/// Throws a UsageError for anything else.
int64_t last_step_of_call(const std::string& until, int64_t steps);
/// Returns the maximum number of tokens per validation; 0: the whole text. Automatic: a fortieth of
/// the tokens trained on between two validations. That costs about 1 % of the time, because forward
/// alone takes a third of forward and backward. At least 10,000 tokens, for a meaningful loss; at
/// most 500,000, beyond which precision hardly improves.
int64_t validation_tokens(const TrainOptions& options, int steps_per_epoch);
/// Returns the tokens of a validation window. A text shorter than a window is one window. 0: no
/// validation.
int validation_window(const TrainOptions& options, int64_t tokens);
/// Returns the length of the pieces in which validation windows are also measured: the training
/// window's length if validation windows are longer, else 0.
int validation_piece(const TrainOptions& options, int window);

}  // namespace mmrec
