#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "train/run/checkpoint.h"
#include "train/run/folder.h"
#include "train/run/phases.h"
#include "train/run/trainer.h"

namespace mmrec {

/// Where a run starts from: nothing, a checkpoint's weights (--init), or all of a stopped run
/// (--resume).
struct RunStart {
  std::optional<Checkpoint> checkpoint;
  std::optional<RunFolder> folder;  ///< of the run to resume
  std::vector<std::string> notes;   ///< findings for the log

  bool resumes() const { return folder.has_value(); }
  /// Returns the index of the phase that the run is in. After the last step of a phase that is the
  /// next one, unless the stop interrupted what is still to do for the old one.
  size_t phase(const std::vector<Phase>& phases) const;
  /// Returns whether the run begins a phase: the checkpoint is the last one of the phase before.
  bool begins_phase(const TrainOptions& options) const;
  std::optional<Tokenizer> tokenizer() const {
    return checkpoint ? std::optional(checkpoint->tokenizer) : std::nullopt;
  }
};

/// Cuts the windows of a step into as many parts as there are ranks, or some more, unless somebody
/// said how many. Returns what it did, or "".
std::string divide_among(int ranks, TrainOptions& options);

/// Throws a UsageError if options.out cannot take a new run, before the text is read.
RunStart start_new(const TrainOptions& options);
/// Takes the named checkpoint, or the newest valid one of a run's folder.
RunStart start_again(const std::filesystem::path& run_or_checkpoint);

/// Returns the configuration of the run, of a growing one that of its phase. A new run takes
/// vocab_size from the options or the text. A run from a checkpoint takes the checkpoint's, with
/// more rows if the tokenizer was extended. Throws a UsageError if the options ask for another
/// model.
Config run_config(const TrainOptions& options, const RunStart& start, const Tokenizer& tokenizer);

/// Makes the run's trainer, with freshly drawn weights and with `options` completed by the run's
/// configuration; of a growing run the trainer of its phase. Throws an Error if a resumed run's
/// data are not the text it began with.
Trainer make_trainer(TrainOptions options, const RunStart& start, Ranks& ranks);
/// Copies the checkpoint's weights, if there is one, to the trainer's parameters; for a resumed run
/// also the moments and carried states. Embedding rows for characters that the checkpoint's
/// tokenizer lacked keep their freshly drawn values: in the checkpoint they were padding. Where a
/// phase begins, the weights grow and the moments start anew; returns a line about that, else "".
std::string read_parameters(const RunStart& start, Trainer& trainer);

/// Opens the folder for a run of `steps` steps. All checks that can fail come before the first
/// change in it.
RunFolder open_folder(const TrainOptions& options, RunStart& start, int64_t steps);

/// Returns the step with which --until ends this call; INT64_MAX if that is the run's end. `steps`:
/// of the run, of a growing one of its phase.
int64_t end_of_call(const TrainOptions& options, int64_t steps);

/// Returns the options as a checkpoint stores them: the text's name is made absolute.
TrainOptions to_save(TrainOptions options);

}  // namespace mmrec
