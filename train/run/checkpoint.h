#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "model/config.h"
#include "model/parameters.h"
#include "model/safetensors.h"
#include "support/file_descriptor.h"
#include "support/path_at.h"
#include "train/data/tokenizer.h"
#include "train/run/run_state.h"

namespace mmrec {

// A checkpoint is a folder of config.json, tokenizer.json (or .model), model.safetensors (weights
// by name), optimizer.safetensors (moments, `m.NAME` and `v.NAME`; with --average, whose average is
// then the weights above, the weights that are trained, `w.NAME`; with --carry the recurrent states
// of the streams, `carried`) and state.json (the run's state, and the size and
// checksum of every other file). A checkpoint whose state.json does not list optimizer.safetensors
// holds weights only, as one that was imported from PyTorch.

/// Returns whether `name` is the name of a file in a checkpoint.
bool is_checkpoint_file(const std::string& name);

/// Returns whether a folder is a checkpoint. Its name does not matter.
bool is_checkpoint(const PathAt& folder);

/// Where the optimizer's moments of all parameters are in memory while a checkpoint is written or
/// read: flat arrays in the layout of Parameters.
struct MomentArrays {
  Tensor first, second;
  /// Not empty: both are the same memory. Called with 1 before the first moments are written or
  /// when they have been read, and then with 2 for the second ones.
  std::function<void(int which)> exchange = {};
};

/// Writes a checkpoint atomically: all of it or nothing. Foreign files in an older checkpoint of
/// the same name are kept in the new one. `carried`: the recurrent states of the streams,
/// [L][streams][state_width]; a null tensor: none.
void save_checkpoint(const PathAt& folder, const Config& config, const Tokenizer& tokenizer,
                     const Parameters& parameters, const RunState& state, const Tensor& carried,
                     const MomentArrays& moments);
/// The same with the moments of `parameters`.
void save_checkpoint(const PathAt& folder, const Config& config, const Tokenizer& tokenizer,
                     const Parameters& parameters, const RunState& state,
                     const Tensor& carried = {});

/// An open file of a checkpoint, with the size and checksum that state.json gives for it.
class CheckpointFile {
 public:
  CheckpointFile(const PathAt& path, uint64_t bytes, std::string crc32);
  /// Throws an Error if size or checksum differ from what was saved.
  void check() const;
  /// Returns the file's content. Throws an Error if it differs from what was saved.
  std::string content() const;
  /// Reads the tensors of a safetensors file to their destinations. Throws an Error if the file
  /// differs from what was saved; the destinations are then undefined.
  void read(const TensorPlaces& places) const;
  const std::string& shown() const { return shown_; }
  uint64_t bytes() const { return bytes_; }
  const std::string& crc32() const { return crc32_; }

 private:
  void compare(uint64_t bytes, uint32_t crc32) const;

  std::shared_ptr<const FileDescriptor> file_;
  std::string shown_;
  uint64_t bytes_;
  std::string crc32_;
};

/// A checkpoint that has been read and verified. A missing, truncated or altered file throws an
/// Error that says which. The files stay open: later reads see this checkpoint even if its run has
/// replaced it meanwhile.
struct Checkpoint {
  /// `path`: a checkpoint's folder or a run's folder. Of a run takes the best model, else the final
  /// checkpoint, else the latest.
  explicit Checkpoint(const PathAt& path);

  std::filesystem::path folder;  ///< the name used in messages
  RunState state;
  Config config;
  Tokenizer tokenizer;

  /// Reads the weights directly into `parameters` (of the same configuration). If its embedding has
  /// more rows, the additional rows keep their values. Throws an Error if the file was altered
  /// meanwhile or holds a number that is not finite; the parameters are then undefined. Rounds them
  /// for models of a precision (round_weights).
  void read_weights(Parameters& parameters, Precision precision = Precision::kFloat32) const;
  /// Whether there are moments, without which no run can be resumed.
  bool has_moments() const { return moments_.has_value(); }
  /// After read_weights(), reads what only a resumed run needs: the optimiser's moments, like
  /// read_weights, and the recurrent states of a run with --carry unless `carried` is null. If the
  /// weights are averaged, those that were read are the average, and the others are read now.
  /// Throws an Error if there are no moments.
  void read_moments(Parameters& parameters, const Tensor& carried,
                    const MomentArrays& moments) const;
  /// The same to the moments of `parameters`.
  void read_moments(Parameters& parameters, const Tensor& carried = {}) const;
  /// Tokens of a training window; 0: unknown.
  int trained_window() const { return state.progress ? state.progress->options.sequence : 0; }
  /// Identifies the weights: step, bytes and checksum.
  std::string describe_weights() const;

 private:
  struct Files;
  static Files open(const PathAt& path);
  explicit Checkpoint(Files files);

  CheckpointFile weights_;
  std::optional<CheckpointFile> moments_;
};

/// What messages say of a checkpoint without moments: "the checkpoint ..".
constexpr const char* kWithoutMoments =
    "holds weights only and no optimizer's state (optimizer.safetensors)";

/// File in a run's folder that holds the name of the latest checkpoint (best_model excluded).
constexpr const char* kLatestFile = "latest";
/// Returns that name, or "" if there is no such file.
std::filesystem::path latest_checkpoint(const PathAt& run);

/// Returns a checkpoint's step, reading only its state.json; nullopt if that is unreadable.
std::optional<int64_t> checkpoint_step(const PathAt& folder);

/// Returns the options of the run that wrote a checkpoint, reading only its state.json; nullopt if
/// that is unreadable or if no run wrote the checkpoint.
std::optional<TrainOptions> checkpoint_options(const PathAt& folder);

}  // namespace mmrec
