#pragma once

#include <cstdint>
#include <filesystem>
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

// A checkpoint is a folder: config.json, tokenizer.json, model.safetensors (the weights by their names),
// optimizer.safetensors (`m.NAME`, `v.NAME`) and state.json, which has the run's state and every file's size and checksum.

/// Whether a checkpoint has a file of this name.
bool is_checkpoint_file(const std::string& name);

/// Whether a folder is a checkpoint, whatever it is called.
bool is_checkpoint(const PathAt& folder);

/// Writes a checkpoint as a whole or not at all. Other files that somebody has put into an older checkpoint of this name are
/// in the new one too.
void save_checkpoint(const PathAt& folder, const Config& config, const Tokenizer& tokenizer, const Parameters& parameters, const RunState& state);

/// A file of a checkpoint, held open, and what state.json says of it.
class CheckpointFile {
 public:
  CheckpointFile(const PathAt& path, uint64_t bytes, std::string crc32);
  /// Throws an Error where the file is not what was saved.
  void check() const;
  /// Its bytes, which have been checked.
  std::string content() const;
  /// Reads a safetensors file's tensors to their places. Throws an Error where what was read is not what was saved: then the places have any
  /// values.
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

/// A checkpoint that has been read and checked. Anything missing, truncated or altered throws an Error that says what. Its files stay open:
/// what is read later is of this checkpoint, also when its run has replaced it meanwhile.
struct Checkpoint {
  /// `path`: a checkpoint's folder, or a run's, of which the best model is taken, else the final one, else the latest.
  explicit Checkpoint(const PathAt& path);

  std::filesystem::path folder;  ///< as messages call it
  RunState state;
  Config config;
  Tokenizer tokenizer;

  /// The weights, read straight to where `parameters` (of the same configuration) has them. If its embedding has more rows, those keep
  /// what they have. Where this throws for a file that was altered meanwhile, the parameters have any values.
  void read_weights(Parameters& parameters) const;
  /// The optimiser's moments.
  void read_moments(Parameters& parameters) const;
  /// What tells its weights from others: their step, bytes and checksum.
  std::string describe_weights() const;

 private:
  struct Files;
  static Files open(const PathAt& path);
  explicit Checkpoint(Files files);

  CheckpointFile weights_, moments_;
};

/// The file in a run's folder with the name of the checkpoint that was saved last, other than as the best.
constexpr const char* kLatestFile = "latest";
/// That name, or nothing where there is no such file.
std::filesystem::path latest_checkpoint(const PathAt& run);

/// The step of a checkpoint by its state.json alone; nothing where that cannot be read.
std::optional<int64_t> checkpoint_step(const PathAt& folder);

/// The options of the run that wrote a checkpoint, by its state.json alone; nothing where that cannot be read or no run wrote it.
std::optional<TrainOptions> checkpoint_options(const PathAt& folder);

}  // namespace mmrec
