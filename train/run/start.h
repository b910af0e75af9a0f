#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "train/run/checkpoint.h"
#include "train/run/folder.h"
#include "train/run/trainer.h"

namespace mmrec {

/// What a run begins with: nothing, a checkpoint's weights (--init), or all that a stopped run had (--resume).
struct RunStart {
  std::optional<Checkpoint> checkpoint;
  std::optional<RunFolder> folder;  ///< of the run that goes on
  std::vector<std::string> notes;   ///< what was found on the way, for the log

  bool resumes() const { return folder.has_value(); }
  std::optional<Tokenizer> tokenizer() const { return checkpoint ? std::optional(checkpoint->tokenizer) : std::nullopt; }
};

RunStart start_new(const TrainOptions& options);
/// Of the run in a folder the newest good checkpoint, or the one that is named.
RunStart start_again(const std::filesystem::path& run_or_checkpoint);

/// The configuration of the run. A new one takes its vocabulary from the options or the text, one from a checkpoint has that of
/// the checkpoint, with more rows if the tokenizer was extended. Throws a UsageError where the options ask for another model.
Config run_config(const TrainOptions& options, const RunStart& start, const Tokenizer& tokenizer);

/// The run's trainer, with the weights of a new run and `options` that have the run's configuration. Throws an Error where a run goes on and its
/// data are not the text that it was begun with.
Trainer make_trainer(TrainOptions options, const RunStart& start);
/// Puts the weights of the checkpoint, if there is one, into the trainer's parameters; of a run that goes on the moments too. Rows of the
/// embedding for characters that the checkpoint's tokenizer did not have begin like any new row, not as the padding that they were.
void read_parameters(const RunStart& start, Trainer& trainer);

/// The folder as it is when the run of so many steps begins. Whatever can be refused has been, before anything in it is changed.
RunFolder open_folder(const TrainOptions& options, RunStart& start, int64_t steps);

/// The options as a checkpoint keeps them: a text is found again from any directory.
TrainOptions to_save(TrainOptions options);

}  // namespace mmrec
