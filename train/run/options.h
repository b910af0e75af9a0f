#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "model/config.h"
#include "model/optimizer.h"

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

/// Throws a UsageError for values that make no sense, also those that only do when rounded to a float.
void check_options(const TrainOptions& options);

/// The options that a checkpoint keeps for --resume: all but the configuration, which has a file of its own, and what
/// concerns one call of the program only. The keys are the command line's names without dashes.
nlohmann::json to_json(const TrainOptions& options);
/// `where` (a file's name) goes into the error for an unknown field or a wrong type.
TrainOptions options_from_json(const nlohmann::json& json, const std::string& where);

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

/// Throws a UsageError where a resumed run's options would make it another run: those that decide which text a
/// step takes, what the model is and how losses compare.
void check_same_course(const TrainOptions& saved, const TrainOptions& now);

}  // namespace mmrec
