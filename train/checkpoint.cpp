#include "train/checkpoint.h"

#include <zlib.h>
#include <nlohmann/json.hpp>

#include <cmath>

#include "runtime/error.h"
#include "train/atomic_file.h"
#include "train/safetensors.h"
#include "train/strict_json.h"

namespace mmrec {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kFiles[] = {"config.json", "tokenizer.json", "model.safetensors", "optimizer.safetensors"};

std::string checksum(const std::string& content) {
  return fmt::format("{:08x}", crc32_z(0, reinterpret_cast<const Bytef*>(content.data()), content.size()));
}

StoredTensors stored(const Parameters& parameters, const Tensor& flat, const std::string& prefix = "") {
  StoredTensors tensors;
  for (const Parameter& parameter : parameters.table()) tensors[prefix + parameter.name] = to_store(parameters.view(flat, parameter));
  return tensors;
}

template <class T>
T field(const json& object, const char* name, const fs::path& file) {
  try {
    return object.at(name).get<T>();
  } catch (const json::exception&) {
    fail("{}: field '{}' is missing or of the wrong type", file.string(), name);
  }
}

/// Takes a run's folder to the checkpoint to use.
fs::path find_checkpoint(const fs::path& path) {
  if (!fs::is_directory(path)) fail("{}: there is no such folder; give a checkpoint's folder or a run's", path.string());
  if (fs::exists(path / "state.json")) return path;
  for (const char* name : {"best_model", "final_checkpoint"})
    if (fs::is_directory(path / name)) return path / name;
  if (fs::exists(path / "latest")) {
    const std::string text = read_file(path / "latest");
    return path / fs::path(text.substr(0, text.find('\n'))).filename();
  }
  fail("{}: not a checkpoint (no state.json) and not a run (no best_model, final_checkpoint or latest)", path.string());
}

/// The run's state, after state.json and all files that it lists have been compared with their checksums.
RunState read_state(const fs::path& folder) {
  const fs::path file = folder / "state.json";
  json state = parse_json(read_file(file), file.string());
  const std::string expected = field<std::string>(state, "crc32", file);
  state.erase("crc32");
  if (checksum(state.dump()) != expected) fail("{}: the file is not what was saved (its own checksum differs)", file.string());
  const json files = field<json>(state, "files", file);
  for (const char* name : kFiles) {
    if (!fs::exists(folder / name)) fail("{}: the checkpoint is incomplete, {} is missing", folder.string(), name);
    const json entry = field<json>(files, name, file);
    const std::string content = read_file(folder / name);
    if (content.size() != field<uint64_t>(entry, "bytes", file) || checksum(content) != field<std::string>(entry, "crc32", file))
      fail("{}: the file is not what was saved ({} bytes; size or checksum differ from state.json's)", (folder / name).string(), content.size());
  }
  const json loss = field<json>(state, "validation_loss", file);
  return {.step = field<int64_t>(state, "step", file),
          .tokens = field<int64_t>(state, "tokens", file),
          .seed = field<uint64_t>(state, "seed", file),
          .validation_loss = loss.is_number() ? loss.get<double>() : std::nan("")};
}

Config read_config(const fs::path& file) { return config_from_json(parse_json(read_file(file), file.string()), Config{}, file.string()); }

}  // namespace

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
        {"format", 1},   {"step", state.step}, {"tokens", state.tokens}, {"seed", state.seed}, {"validation_loss", state.validation_loss},
        {"files", files}};
    description["crc32"] = checksum(description.dump());
    write_file_atomically(partial / "state.json", description.dump(2) + "\n");
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
  for (const Parameter& parameter : parameters.table()) file.read(parameter.name, parameters.weight(parameter.name));
}

int model_vocabulary(const Config& config, const Tokenizer& tokenizer) {
  return config.vocab_size == padded_vocabulary(tokenizer.size()) ? tokenizer.size() : config.vocab_size;
}

}  // namespace mmrec
