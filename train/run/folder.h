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

/// Returns whether `name` is a name that a run gives to a checkpoint.
bool is_checkpoint_name(const std::string& name);

/// Returns the runs in a folder of runs: the folders in it with metrics, sorted by name.
std::vector<std::filesystem::path> runs_in(const std::filesystem::path& folder);

/// Where runs are that have no other place.
inline constexpr const char* kRuns = "checkpoints";
/// Returns the run in a folder of runs that trained last, of those with a checkpoint; "": there is
/// none.
std::filesystem::path newest_run(const std::filesystem::path& folder);

/// A run's folder (`--out`). One process at a time writes to it: checkpoint_step_NNNNNN,
/// best_model, final_checkpoint (folders), latest (name of the newest), metrics.jsonl,
/// training_output.log, config.json, and event files with --tensorboard. All other files in it are
/// left alone. The folder is held open: writes go to this folder even if it is renamed and another
/// one takes its name.
class RunFolder {
 public:
  static constexpr const char* kBest = "best_model";
  static constexpr const char* kFinal = "final_checkpoint";
  static constexpr const char* kMetrics = "metrics.jsonl";
  static constexpr const char* kLog = "training_output.log";
  static constexpr const char* kConfig = "config.json";
  static std::string step_name(int64_t step);

  /// Throws what for_new_run() would, without changing anything: for code that computes long before
  /// it opens the folder. Another process may still take the folder meanwhile.
  static void check_new(const std::filesystem::path& path, bool overwrite);
  /// Opens the folder for a new run and makes it if needed. If it holds a run already, throws a
  /// UsageError. With `overwrite` the old run is instead moved to the subfolder `previous`, so that
  /// a new run that stops early does not cost the old one; an old run without any checkpoint is
  /// removed. Completes an earlier move that was killed. Throws a UsageError if `path` is a
  /// checkpoint.
  static RunFolder for_new_run(const std::filesystem::path& path, bool overwrite);
  /// Opens the folder to resume its run. Undoes a move to `previous` that was killed.
  static RunFolder for_resuming(const std::filesystem::path& path);

  PathAt root() const { return lock_.path(); }
  PathAt operator/(const std::filesystem::path& name) const { return lock_ / name; }
  /// The folder's current name.
  std::filesystem::path path() const { return lock_.current_path(); }
  /// Identifies the run. "" in folders of earlier versions; their checkpoints have no id either.
  const std::string& id() const { return id_; }

  /// Writes config.json: the configuration and the run's id.
  void write_config(const Config& config) const;

  /// The newest valid checkpoint of this run's configuration, and the reason for each newer one
  /// that was rejected. Throws an Error if there is none.
  struct Newest {
    Checkpoint checkpoint;
    std::vector<std::string> refused;
  };
  Newest newest_checkpoint() const;
  /// Returns why this run cannot resume from the checkpoint, or "".
  std::string obstacle(const Checkpoint& checkpoint) const;

  /// Makes the checkpoint the newest: moves later and damaged checkpoints (except a damaged
  /// best_model) to the subfolder `set_aside`. Returns their names.
  std::vector<std::string> go_back_to(const Checkpoint& checkpoint);

  /// Saves a checkpoint under a name, see save_checkpoint(). Unless it is the best model, also
  /// writes the name to `latest`.
  void save(const std::string& name, const Config& config, const Tokenizer& tokenizer,
            const Parameters& parameters, const RunState& state, const Tensor& carried,
            const MomentArrays& moments);
  /// Removes all but the newest `keep` step checkpoints. Keeps those that contain foreign files.
  void remove_old(int keep);

 private:
  /// A checkpoint and its step: from state.json, else from the folder's name, else INT64_MAX.
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
