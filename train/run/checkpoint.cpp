#include "train/run/checkpoint.h"

#include <fcntl.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "model/config_file.h"
#include "model/optimizer.h"
#include "model/safetensors.h"
#include "support/atomic_file.h"
#include "support/checksum.h"
#include "support/error.h"
#include "support/strict_json.h"
#include "train/run/options_json.h"

namespace mmrec {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kFormat = 2;  // format 1 had no progress
constexpr const char* kStateFile = "state.json";
constexpr const char* kMomentsFile = "optimizer.safetensors";
constexpr const char *kFirst = "m.", *kSecond = "v.";  // prefixes; all first ones come first
constexpr const char* kCarried = "carried";            // a tensor; names of moments have a dot
constexpr const char* kConfigFile = "config.json";
constexpr const char* kWeightsFile = "model.safetensors";

/// Returns the names of the files that state.json lists.
std::vector<std::string> files_with(const std::string& tokenizer, bool moments) {
  std::vector<std::string> names = {kConfigFile, tokenizer, kWeightsFile};
  if (moments) names.push_back(kMomentsFile);
  return names;
}

std::string in_hex(uint32_t crc32) { return fmt::format("{:08x}", crc32); }
std::string checksum(const std::string& content) { return in_hex(crc32_of(content)); }

struct FileSum {
  uint64_t bytes = 0;
  uint32_t crc32 = 0;
};

/// Reads a file piecewise and returns its size and CRC-32.
FileSum sum_of(const FileDescriptor& file) {
  std::vector<std::byte> room(size_t{1} << 20);
  FileSum sum;
  while (const size_t got = file.read_at(static_cast<int64_t>(sum.bytes), room)) {
    sum.crc32 = crc32_of(std::span(room).first(got), sum.crc32);
    sum.bytes += got;
  }
  return sum;
}

bool is_null(const Tensor& tensor) { return tensor.data() == nullptr; }

StoredTensors stored(const Parameters& parameters, const Tensor& flat,
                     const std::string& prefix = "") {
  StoredTensors tensors;
  for (const Parameter& parameter : parameters.table())
    tensors[prefix + parameter.name] = to_store(parameters.view(flat, parameter));
  return tensors;
}

/// Reads a field of type T. Integers must be whole, not negative and in range; otherwise throws an
/// Error.
template <class T>
T field(const json& object, const char* name, const fs::path& file) {
  try {
    const json& value = object.at(name);
    if constexpr (std::is_integral_v<T>) {
      if (const std::optional<uint64_t> number = whole_number(value, std::numeric_limits<T>::max()))
        return static_cast<T>(*number);
    } else {
      return value.get<T>();
    }
  } catch (const json::exception&) {
  }
  fail("{}: field '{}' is missing or of the wrong type", file.string(), name);
}

/// Reads [number of tokens, checksum] of a text.
std::pair<int64_t, uint32_t> read_fingerprint(const json& data, const char* name,
                                              const fs::path& file) {
  const json pair = field<json>(data, name, file);
  if (pair.is_array() && pair.size() == 2)
    if (const auto tokens = whole_number(pair[0]), crc = whole_number(pair[1], UINT32_MAX);
        tokens && crc)
      return {static_cast<int64_t>(*tokens), static_cast<uint32_t>(*crc)};
  fail("{}: field '{}' is not a number of tokens and a checksum", file.string(), name);
}

/// null stands for NaN and infinity, which JSON lacks.
double number_or_nan(const json& object, const char* name, const fs::path& file) {
  const json value = field<json>(object, name, file);
  return value.is_null() ? std::nan("") : field<double>(object, name, file);
}

json to_json(const TrainingProgress& progress) {
  const DataFingerprint& data = progress.data;
  json result = {{"options", to_json(progress.options)},
                 {"data",
                  {{"train", {data.train_tokens, data.train_crc}},
                   {"validation", {data.validation_tokens, data.validation_crc}}}},
                 {"epoch",
                  // "positions" is kept so that older folders resume
                  {{"loss", progress.epoch.loss},
                   {"correct", progress.epoch.correct},
                   {"positions", progress.epoch.tokens}}},
                 {"best",
                  {{"loss", progress.best_loss},
                   {"step", progress.best_step},
                   {"validations_since", progress.validations_since_best}}},
                 {"seconds", progress.seconds}};
  if (!progress.unfinished.empty()) result["unfinished"] = progress.unfinished;
  return result;
}

TrainingProgress read_progress(const json& progress, const fs::path& file) {
  const json data = field<json>(progress, "data", file),
             epoch = field<json>(progress, "epoch", file),
             best = field<json>(progress, "best", file);
  const auto train = read_fingerprint(data, "train", file),
             validation = read_fingerprint(data, "validation", file);
  return {.options = options_from_json(field<json>(progress, "options", file), file.string()),
          .data = {train.first, validation.first, train.second, validation.second},
          .epoch = {.loss = field<double>(epoch, "loss", file),
                    .correct = field<double>(epoch, "correct", file),
                    .tokens = field<int64_t>(epoch, "positions", file)},
          .best_loss = number_or_nan(best, "loss", file),
          .best_step = field<int64_t>(best, "step", file),
          .validations_since_best = field<int>(best, "validations_since", file),
          .seconds = field<double>(progress, "seconds", file),
          .unfinished = progress.contains("unfinished")
                            ? field<std::string>(progress, "unfinished", file)
                            : ""};
}

/// Returns the checkpoint to use in a checkpoint's or a run's folder. The latest checkpoint may be
/// deleted by its run at any moment.
PathAt find_checkpoint(const PathAt& path) {
  check_is_directory(path, "give a checkpoint's folder or a run's");
  if (is_checkpoint(path)) return path;
  for (const char* name : {"best_model", "final_checkpoint"})
    if (is_directory(path / name)) return path / name;
  if (const fs::path name = latest_checkpoint(path); !name.empty()) return path / name;
  fail(
      "{}: not a checkpoint (no state.json) and not a run (no best_model, final_checkpoint or "
      "latest)",
      path.shown().string());
}

/// Parses state.json and verifies its own checksum. The format number is checked first: a newer
/// version may compute the checksum differently.
json parse_state(const std::string& text, const fs::path& file) {
  json state = parse_json(text, file.string());
  const int format = field<int>(state, "format", file);
  if (format > kFormat)
    fail("{}: format {} was written by a newer version; this one reads formats up to {}",
         file.string(), format, kFormat);
  const std::string expected = field<std::string>(state, "crc32", file);
  state.erase("crc32");
  if (checksum(state.dump()) != expected)
    fail("{}: the file is not what was saved (its own checksum differs)", file.string());
  return state;
}

RunState read_state(const json& state, const fs::path& file) {
  RunState result{.step = field<int64_t>(state, "step", file),
                  .tokens = field<int64_t>(state, "tokens", file),
                  .seed = field<uint64_t>(state, "seed", file),
                  .run = state.contains("run") ? field<std::string>(state, "run", file) : "",
                  .validation_loss = number_or_nan(state, "validation_loss", file),
                  .progress = {}};
  if (state.contains("course")) result.progress = read_progress(state["course"], file);
  return result;
}

/// Copies all foreign files to the new folder, by hard links if the file system has them. Nothing
/// is lost if the process ends at any point.
void carry_over_others(const PathAt& old_folder, const PathAt& new_folder) {
  if (!is_directory(old_folder)) return;
  for (const std::string& name : names_in(old_folder)) {
    if (is_checkpoint_file(name)) continue;
    try {
      copy_tree(old_folder / name, new_folder / name);
    } catch (const Error& error) {
      fail("cannot keep {} in a new version of its folder, move it to another place: {}",
           (old_folder / name).shown().string(), error.what());
    }
  }
}

Config read_config(const CheckpointFile& file) {
  return config_from_record(parse_json(file.content(), file.shown()), file.shown());
}

}  // namespace

CheckpointFile::CheckpointFile(const PathAt& path, uint64_t bytes, std::string crc32)
    : file_(std::make_shared<const FileDescriptor>("read", path, O_RDONLY)),
      shown_(path.shown().string()),
      bytes_(bytes),
      crc32_(std::move(crc32)) {}

void CheckpointFile::compare(uint64_t bytes, uint32_t crc32) const {
  if (bytes != bytes_ || in_hex(crc32) != crc32_)
    fail("{}: the file is not what was saved ({} bytes; size or checksum differ from state.json's)",
         shown_, bytes);
}

void CheckpointFile::check() const {
  const FileSum sum = sum_of(*file_);
  compare(sum.bytes, sum.crc32);
}

std::string CheckpointFile::content() const {
  file_->seek(0);
  std::string content = file_->read_rest();
  compare(content.size(), crc32_of(content));
  return content;
}

void CheckpointFile::read(const TensorPlaces& places) const {
  const SafetensorsFile tensors(file_, shown_);
  compare(static_cast<uint64_t>(file_->size()), tensors.read_all(places));
}

/// All files of a checkpoint, opened at a moment when they belonged together.
struct Checkpoint::Files {
  explicit Files(const PathAt& folder) : shown(folder.shown()) {
    read_replaceable_folder(folder, [&](const PathAt& held) { read(held); });
  }

  CheckpointFile& operator[](const std::string& name) { return files.at(name); }
  std::optional<CheckpointFile> moments() {
    return files.contains(kMomentsFile) ? std::optional(std::move((*this)[kMomentsFile]))
                                        : std::nullopt;
  }
  fs::path state_file() const { return shown / kStateFile; }

  fs::path shown;
  json state;
  std::string tokenizer;                        // its file's name
  std::map<std::string, CheckpointFile> files;  // by name

 private:
  void read(const PathAt& folder) {
    files.clear();
    state = parse_state(read_file(folder / kStateFile), state_file());
    const json listed = field<json>(state, "files", state_file());
    const auto& [of_others, of_pieces] = Tokenizer::kFileNames;
    tokenizer = listed.contains(of_pieces) ? of_pieces : of_others;
    for (const std::string& name : files_with(tokenizer, listed.contains(kMomentsFile))) {
      if (!exists(folder / name))
        fail("{}: the checkpoint is incomplete, {} is missing", shown.string(), name);
      const json entry = field<json>(listed, name.c_str(), state_file());
      files.emplace(name,
                    CheckpointFile(folder / name, field<uint64_t>(entry, "bytes", state_file()),
                                   field<std::string>(entry, "crc32", state_file())));
    }
    for (const auto& [name, file] : files) file.check();
  }
};

bool is_checkpoint(const PathAt& folder) {
  return type_of(folder / kStateFile) == fs::file_type::regular;
}

bool is_checkpoint_file(const std::string& name) {
  return name == kStateFile || name == kConfigFile || name == kWeightsFile ||
         name == kMomentsFile || std::ranges::count(Tokenizer::kFileNames, name) > 0;
}

void save_checkpoint(const PathAt& folder, const Config& config, const Tokenizer& tokenizer,
                     const Parameters& parameters, const RunState& state, const Tensor& carried) {
  save_checkpoint(folder, config, tokenizer, parameters, state, carried,
                  {parameters.first_moments(), parameters.second_moments()});
}

void save_checkpoint(const PathAt& folder, const Config& config, const Tokenizer& tokenizer,
                     const Parameters& parameters, const RunState& state, const Tensor& carried,
                     const MomentArrays& moments) {
  write_directory_atomically(folder, [&](const PathAt& partial) {
    write_file_atomically(partial / kConfigFile, to_json(config).dump(2) + "\n");
    tokenizer.save(partial / tokenizer.file_name());
    const bool averages = parameters.has_average();
    write_safetensors(partial / kWeightsFile,
                      stored(parameters, averages ? parameters.average() : parameters.weights()));
    StoredTensors tensors = stored(parameters, moments.first, kFirst);
    tensors.merge(stored(parameters, moments.second, kSecond));
    if (averages) tensors.merge(stored(parameters, parameters.weights(), "w."));
    if (!is_null(carried)) tensors[kCarried] = to_store(carried);
    int fetched = 0;
    write_safetensors(partial / kMomentsFile, tensors, {}, [&](const std::string& name) {
      const int which = name.starts_with(kFirst) ? 1 : name.starts_with(kSecond) ? 2 : fetched;
      if (moments.exchange && which > fetched) moments.exchange(which);
      fetched = which;
    });

    json files;
    for (const std::string& name : files_with(tokenizer.file_name(), true)) {
      const FileSum sum = sum_of(FileDescriptor("read", partial / name, O_RDONLY));
      files[name] = {{"bytes", sum.bytes}, {"crc32", in_hex(sum.crc32)}};
    }
    json description = {{"format", kFormat},
                        {"step", state.step},
                        {"tokens", state.tokens},
                        {"seed", state.seed},
                        {"validation_loss", state.validation_loss},
                        {"files", files}};
    if (!state.run.empty()) description["run"] = state.run;
    // The name is kept so that older folders resume.
    if (state.progress) description["course"] = to_json(*state.progress);
    description["crc32"] = checksum(description.dump());
    write_file_atomically(partial / kStateFile, description.dump(2) + "\n");
    carry_over_others(folder, partial);
  });
}

Checkpoint::Files Checkpoint::open(const PathAt& path) {
  for (;;) {
    const PathAt folder = find_checkpoint(path);
    try {
      return Files(folder);
    } catch (const Error&) {
      if (exists(folder) || find_checkpoint(path).shown() == folder.shown()) throw;
    }
  }
}

Checkpoint::Checkpoint(const PathAt& path) : Checkpoint(open(path)) {}

Checkpoint::Checkpoint(Files files)
    : folder(files.shown),
      state(read_state(files.state, files.state_file())),
      config(read_config(files[kConfigFile])),
      tokenizer(Tokenizer::parse(files[files.tokenizer].content(), files[files.tokenizer].shown())),
      weights_(std::move(files[kWeightsFile])),
      moments_(files.moments()) {
  if (tokenizer.size() > config.vocab_size)
    fail("{}: the tokenizer has {} tokens, the model {} rows", folder.string(), tokenizer.size(),
         config.vocab_size);
}

void Checkpoint::read_weights(Parameters& parameters, Precision precision) const {
  TensorPlaces places;
  for (const Parameter& parameter : parameters.table()) {
    const Tensor weight = parameters.weight(parameter.name);
    const bool more_rows =
        parameter.name == "embedding.weight" && weight.size(0) > config.vocab_size;
    places.emplace_back(parameter.name, more_rows ? weight.rows(0, config.vocab_size) : weight);
  }
  weights_.read(places);
  // Some would go unnoticed: the kernels' exponential of a NaN is 0, and so a gate's is 1.
  if (const std::string bad = first_non_finite(parameters, parameters.weights()); !bad.empty())
    fail("{}: the weight {} is not finite: the weights cannot be used", folder.string(), bad);
  round_weights(config, parameters, precision);
}

void Checkpoint::read_moments(Parameters& parameters, const Tensor& carried) const {
  read_moments(parameters, carried, {parameters.first_moments(), parameters.second_moments()});
}

void Checkpoint::read_moments(Parameters& parameters, const Tensor& carried,
                              const MomentArrays& moments) const {
  if (!moments_) fail("{}: the checkpoint {}", folder.string(), kWithoutMoments);
  parameters.start_average();
  TensorPlaces places, second;
  for (const Parameter& parameter : parameters.table()) {
    places.emplace_back(kFirst + parameter.name, parameters.view(moments.first, parameter));
    (moments.exchange ? second : places)
        .emplace_back(kSecond + parameter.name, parameters.view(moments.second, parameter));
    if (parameters.has_average())
      places.emplace_back("w." + parameter.name, parameters.weight(parameter.name));
  }
  if (!is_null(carried)) places.emplace_back(kCarried, carried);
  moments_->read(places);
  if (!moments.exchange) return;
  moments.exchange(1);
  moments_->read(second);
  moments.exchange(2);
}

std::string Checkpoint::describe_weights() const {
  return fmt::format("step {}, {} bytes with checksum {}", state.step, weights_.bytes(),
                     weights_.crc32());
}

fs::path latest_checkpoint(const PathAt& run) {
  if (!exists(run / kLatestFile)) return {};
  const std::string text = read_file(run / kLatestFile);
  return fs::path(text.substr(0, text.find('\n'))).filename();
}

std::optional<int64_t> checkpoint_step(const PathAt& folder) {
  const PathAt file = folder / kStateFile;
  try {
    return field<int64_t>(parse_state(read_file(file), file.shown()), "step", file.shown());
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::optional<TrainOptions> checkpoint_options(const PathAt& folder) {
  const PathAt file = folder / kStateFile;
  try {
    const json state = parse_state(read_file(file), file.shown());
    if (state.contains("course")) return read_progress(state["course"], file.shown()).options;
  } catch (const Error&) {
  }
  return std::nullopt;
}

}  // namespace mmrec
