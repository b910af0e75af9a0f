#include "train/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <system_error>
#include <type_traits>
#include <utility>

#include "runtime/error.h"
#include "train/atomic_file.h"
#include "train/checksum.h"
#include "train/safetensors.h"
#include "train/strict_json.h"

namespace mmrec {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kFormat = 2;  // 1 had no course
constexpr const char* kStateFile = "state.json";
constexpr const char* kFiles[] = {"config.json", "tokenizer.json", "model.safetensors", "optimizer.safetensors"};

std::string checksum(const std::string& content) { return fmt::format("{:08x}", crc32_of(content)); }

StoredTensors stored(const Parameters& parameters, const Tensor& flat, const std::string& prefix = "") {
  StoredTensors tensors;
  for (const Parameter& parameter : parameters.table()) tensors[prefix + parameter.name] = to_store(parameters.view(flat, parameter));
  return tensors;
}

/// Numbers of an integer's type are whole, not negative, and fit.
template <class T>
T field(const json& object, const char* name, const fs::path& file) {
  try {
    const json& value = object.at(name);
    if constexpr (std::is_integral_v<T>) {
      if (const std::optional<uint64_t> number = whole_number(value, std::numeric_limits<T>::max())) return static_cast<T>(*number);
    } else {
      return value.get<T>();
    }
  } catch (const json::exception&) {
  }
  fail("{}: field '{}' is missing or of the wrong type", file.string(), name);
}

/// A text's number of tokens and their checksum.
std::pair<int64_t, uint32_t> read_identity(const json& data, const char* name, const fs::path& file) {
  const json pair = field<json>(data, name, file);
  if (pair.is_array() && pair.size() == 2)
    if (const auto tokens = whole_number(pair[0]), crc = whole_number(pair[1], UINT32_MAX); tokens && crc)
      return {static_cast<int64_t>(*tokens), static_cast<uint32_t>(*crc)};
  fail("{}: field '{}' is not a number of tokens and a checksum", file.string(), name);
}

/// JSON has no NaN and no infinity: null stands for them.
double number_or_nan(const json& object, const char* name, const fs::path& file) {
  const json value = field<json>(object, name, file);
  return value.is_null() ? std::nan("") : field<double>(object, name, file);
}

json to_json(const Course& course) {
  const DataIdentity& data = course.data;
  return {{"options", to_json(course.options)},
          {"data", {{"train", {data.train_tokens, data.train_crc}}, {"validation", {data.validation_tokens, data.validation_crc}}}},
          {"epoch", {{"loss", course.epoch.loss}, {"correct", course.epoch.correct}, {"positions", course.epoch.positions}}},
          {"best", {{"loss", course.best_loss}, {"step", course.best_step}, {"validations_since", course.validations_since_best}}},
          {"seconds", course.seconds}};
}

Course read_course(const json& course, const fs::path& file) {
  const json data = field<json>(course, "data", file), epoch = field<json>(course, "epoch", file), best = field<json>(course, "best", file);
  const auto train = read_identity(data, "train", file), validation = read_identity(data, "validation", file);
  return {.options = options_from_json(field<json>(course, "options", file), file.string()),
          .data = {train.first, validation.first, train.second, validation.second},
          .epoch = {field<double>(epoch, "loss", file), field<double>(epoch, "correct", file), field<int64_t>(epoch, "positions", file)},
          .best_loss = number_or_nan(best, "loss", file),
          .best_step = field<int64_t>(best, "step", file),
          .validations_since_best = field<int>(best, "validations_since", file),
          .seconds = field<double>(course, "seconds", file)};
}

/// Takes a run's folder to the checkpoint to use.
fs::path find_checkpoint(const fs::path& path) {
  if (!fs::is_directory(path)) fail("{}: there is no such folder; give a checkpoint's folder or a run's", path.string());
  if (fs::exists(path / kStateFile)) return path;
  for (const char* name : {"best_model", "final_checkpoint"})
    if (fs::is_directory(path / name)) return path / name;
  if (const fs::path name = latest_checkpoint(path); !name.empty()) return path / name;
  fail("{}: not a checkpoint (no state.json) and not a run (no best_model, final_checkpoint or latest)", path.string());
}

/// state.json, after it has been compared with its own checksum. A newer version may have another one, so that the format is first.
json read_state_file(const fs::path& file) {
  json state = parse_json(read_file(file), file.string());
  const int format = field<int>(state, "format", file);
  if (format > kFormat) fail("{}: format {} was written by a newer version; this one reads formats up to {}", file.string(), format, kFormat);
  const std::string expected = field<std::string>(state, "crc32", file);
  state.erase("crc32");
  if (checksum(state.dump()) != expected) fail("{}: the file is not what was saved (its own checksum differs)", file.string());
  return state;
}

/// The run's state, after state.json and all files that it lists have been compared with their checksums.
RunState read_state(const fs::path& folder) {
  const fs::path file = folder / kStateFile;
  const json state = read_state_file(file);
  const json files = field<json>(state, "files", file);
  for (const char* name : kFiles) {
    if (!fs::exists(folder / name)) fail("{}: the checkpoint is incomplete, {} is missing", folder.string(), name);
    const json entry = field<json>(files, name, file);
    const std::string content = read_file(folder / name);
    if (content.size() != field<uint64_t>(entry, "bytes", file) || checksum(content) != field<std::string>(entry, "crc32", file))
      fail("{}: the file is not what was saved ({} bytes; size or checksum differ from state.json's)", (folder / name).string(), content.size());
  }
  RunState result{.step = field<int64_t>(state, "step", file),
                  .tokens = field<int64_t>(state, "tokens", file),
                  .seed = field<uint64_t>(state, "seed", file),
                  .validation_loss = number_or_nan(state, "validation_loss", file),
                  .course = {}};
  if (state.contains("course")) result.course = read_course(state["course"], file);
  return result;
}

/// Whatever is no checkpoint's file gets into the new folder as well, by links where the file system has them: whenever the
/// process ends, nothing is lost.
void carry_over_others(const fs::path& old_folder, const fs::path& new_folder) {
  if (!fs::is_directory(old_folder)) return;
  constexpr auto kLinks = fs::copy_options::recursive | fs::copy_options::copy_symlinks | fs::copy_options::create_hard_links;
  constexpr auto kCopies = fs::copy_options::recursive | fs::copy_options::copy_symlinks | fs::copy_options::overwrite_existing;
  for (const fs::directory_entry& entry : fs::directory_iterator(old_folder)) {
    const fs::path name = entry.path().filename();
    if (is_checkpoint_file(name.string())) continue;
    std::error_code error;
    fs::copy(entry.path(), new_folder / name, kLinks, error);
    if (error) fs::copy(entry.path(), new_folder / name, kCopies, error);
    if (error) fail("cannot keep {} in a new version of its folder: {}; move it to another place", entry.path().string(), error.message());
  }
}

Config read_config(const fs::path& file) { return config_from_json(parse_json(read_file(file), file.string()), Config{}, file.string()); }

}  // namespace

bool is_checkpoint_file(const std::string& name) {
  return name == kStateFile || std::find(std::begin(kFiles), std::end(kFiles), name) != std::end(kFiles);
}

void save_checkpoint(const fs::path& folder, const Config& config, const Tokenizer& tokenizer, const Parameters& parameters, const RunState& state) {
  write_directory_atomically(folder, [&](const fs::path& partial) {
    write_file_atomically(partial / "config.json", to_json(config).dump(2) + "\n");
    tokenizer.save(partial / "tokenizer.json");
    write_safetensors(partial / "model.safetensors", stored(parameters, parameters.weights()));
    StoredTensors moments = stored(parameters, parameters.first_moments(), "m.");
    moments.merge(stored(parameters, parameters.second_moments(), "v."));
    write_safetensors(partial / "optimizer.safetensors", moments);

    json files;
    for (const char* name : kFiles) {
      const std::string content = read_file(partial / name);
      files[name] = {{"bytes", content.size()}, {"crc32", checksum(content)}};
    }
    json description = {
        {"format", kFormat}, {"step", state.step}, {"tokens", state.tokens}, {"seed", state.seed}, {"validation_loss", state.validation_loss},
        {"files", files}};
    if (state.course) description["course"] = to_json(*state.course);
    description["crc32"] = checksum(description.dump());
    write_file_atomically(partial / kStateFile, description.dump(2) + "\n");
    carry_over_others(folder, partial);
  });
}

Checkpoint::Checkpoint(const fs::path& path)
    : folder(find_checkpoint(path)),
      state(read_state(folder)),
      config(read_config(folder / "config.json")),
      tokenizer(Tokenizer::load(folder / "tokenizer.json")) {
  if (tokenizer.size() > config.vocab_size)
    fail("{}: the tokenizer has {} tokens, the model {} rows", folder.string(), tokenizer.size(), config.vocab_size);
}

void Checkpoint::read_weights(Parameters& parameters) const {
  const SafetensorsFile file(folder / "model.safetensors");
  for (const Parameter& parameter : parameters.table()) {
    const Tensor weight = parameters.weight(parameter.name);
    const bool more_rows = parameter.name == "embedding.weight" && weight.size(0) > config.vocab_size;
    file.read(parameter.name, more_rows ? weight.rows(0, config.vocab_size) : weight);
  }
}

void Checkpoint::read_moments(Parameters& parameters) const {
  const SafetensorsFile file(folder / "optimizer.safetensors");
  for (const Parameter& parameter : parameters.table()) {
    file.read("m." + parameter.name, parameters.view(parameters.first_moments(), parameter));
    file.read("v." + parameter.name, parameters.view(parameters.second_moments(), parameter));
  }
}

fs::path latest_checkpoint(const fs::path& run) {
  if (!fs::exists(run / kLatestFile)) return {};
  const std::string text = read_file(run / kLatestFile);
  return fs::path(text.substr(0, text.find('\n'))).filename();
}

std::optional<int64_t> checkpoint_step(const fs::path& folder) {
  try {
    return field<int64_t>(read_state_file(folder / kStateFile), "step", folder / kStateFile);
  } catch (const Error&) {
    return std::nullopt;
  }
}

int model_vocabulary(const Config& config, const Tokenizer& tokenizer) {
  return config.vocab_size == padded_vocabulary(tokenizer.size()) ? tokenizer.size() : config.vocab_size;
}

}  // namespace mmrec
