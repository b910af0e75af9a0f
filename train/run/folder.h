#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "support/directory_lock.h"
#include "support/path_at.h"
#include "train/run/checkpoint.h"

namespace mmrec {

/// Whether a run gives a checkpoint this name.
bool is_checkpoint_name(const std::string& name);

/// A run's folder (`--out`), to which one process at a time writes: checkpoint_step_NNNNNN, best_model, final_checkpoint
/// (folders), latest (the name of the newest), metrics.jsonl, training_output.log, config.json, and with --tensorboard event
/// files. Other files in it are nobody's business here and stay. It is held open: all goes to this very folder, also when somebody
/// renames it and puts another one in its place.
class RunFolder {
 public:
  static constexpr const char* kBest = "best_model";
  static constexpr const char* kFinal = "final_checkpoint";
  static constexpr const char* kMetrics = "metrics.jsonl";
  static constexpr const char* kLog = "training_output.log";
  static constexpr const char* kConfig = "config.json";
  static std::string step_name(int64_t step);

  /// For a new run: makes the folder. One that holds a run already is refused, or with `overwrite` that run goes to the folder
  /// `previous` in it: a new run that is stopped early must not have cost the old one. One without any checkpoint is removed. A move that
  /// was killed is finished. A checkpoint's folder is no place for a run.
  static RunFolder for_new_run(const std::filesystem::path& path, bool overwrite);
  /// For the run that is in the folder. A move to `previous` that was killed is undone.
  static RunFolder for_resuming(const std::filesystem::path& path);

  PathAt root() const { return lock_.path(); }
  PathAt operator/(const std::filesystem::path& name) const { return lock_ / name; }
  /// What it is called now.
  std::filesystem::path path() const { return lock_.current_path(); }
  /// Tells this run from all others. "" in folders of earlier versions, whose checkpoints have none either.
  const std::string& id() const { return id_; }

  /// config.json: the configuration and the run's id.
  void write_config(const Config& config) const;

  /// The newest checkpoint that is good and of the run's configuration, and for each newer one why it was passed over. Throws
  /// where there is none.
  struct Newest {
    Checkpoint checkpoint;
    std::vector<std::string> refused;
  };
  Newest newest_checkpoint() const;
  /// Why this run cannot be resumed from a checkpoint, or "".
  std::string obstacle(const Checkpoint& checkpoint) const;

  /// Makes the checkpoint the newest: later ones and damaged ones (but for a damaged best_model) are moved to the folder
  /// `set_aside`. Returns their names.
  std::vector<std::string> go_back_to(const Checkpoint& checkpoint);

  /// Saves under a name, and notes it in `latest` unless it is the best model.
  void save(const std::string& name, const Config& config, const Tokenizer& tokenizer, const Parameters& parameters, const RunState& state);
  /// Removes all but the newest `keep` checkpoints of steps. Those that somebody has put a file into stay.
  void remove_old(int keep);

 private:
  /// A checkpoint's folder and the step that its state, or else its name, has; the largest number where neither tells one.
  struct Entry {
    PathAt path;
    int64_t step;
  };
  explicit RunFolder(const std::filesystem::path& path) : lock_(path) {}
  std::vector<Entry> newest_first() const;

  DirectoryLock lock_;
  std::string id_;
};

}  // namespace mmrec
