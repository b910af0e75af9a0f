#include "train/run/probe.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "model/config_file.h"
#include "model/memory.h"
#include "model/model.h"
#include "model/optimizer.h"
#include "model/safetensors.h"
#include "support/error.h"
#include "support/strict_json.h"

namespace mmrec {

namespace {

/// Transposes between the file's [B][T] and the model's [T][B]; elements have `width` values.
template <class T>
void swap_outer(const TensorView<T>& from, const TensorView<T>& to, int rows, int columns,
                int width) {
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < columns; ++c)
      std::copy_n(from.data() + (static_cast<int64_t>(r) * columns + c) * width, width,
                  to.data() + (static_cast<int64_t>(c) * rows + r) * width);
}

Config read_config(const SafetensorsFile& file, const std::string& name) {
  const auto text = file.metadata().find("config");
  if (text == file.metadata().end()) fail("{}: the metadata have no 'config'", name);
  return config_from_json(parse_json(text->second, name), Config{}, name);
}

/// The arrays of the step beside the model's. Those of the file have the sequences outermost, the
/// model's have time outermost.
struct Arrays {
  Arrays(const Config& config, int B, int T, const Model& model, const Parameters& parameters);

  IntTensor ids_by_sequence, targets_by_sequence, ids, targets;
  Tensor bank, bank_v;  // [L][M][D]; null if the model draws no memory
  Tensor logits_by_time, logits, token_loss, loss, auxiliary, grad_norm, weights_before;
  Arena memory;
};

Arrays::Arrays(const Config& config, int B, int T, const Model& model,
               const Parameters& parameters) {
  memory = Arena::fitted([&](Arena& arena) {
    for (IntTensor* tensor : {&ids_by_sequence, &targets_by_sequence})
      *tensor = arena.take<int32_t>({B, T});
    for (IntTensor* tensor : {&ids, &targets}) *tensor = arena.take<int32_t>({T, B});
    if (!model.drawn().empty())
      for (Tensor* tensor : {&bank, &bank_v})
        *tensor = arena.tensor({config.layers, config.mem_slots, config.dim});
    logits_by_time = arena.tensor({T, B, config.vocab_size});
    logits = arena.tensor({B, T, config.vocab_size});
    token_loss = arena.tensor({B, T});
    for (Tensor* tensor : {&loss, &auxiliary, &grad_norm}) *tensor = arena.tensor({1});
    weights_before = arena.tensor({parameters.weights().size(0)});
  });
}

void read_inputs(const SafetensorsFile& file, const Arrays& a, const Model& model) {
  file.read("ids", a.ids_by_sequence);
  file.read("targets", a.targets_by_sequence);
  swap_outer(a.ids_by_sequence, a.ids, model.B(), model.T(), 1);
  swap_outer(a.targets_by_sequence, a.targets, model.B(), model.T(), 1);
  if (model.drawn().empty()) return;
  file.read("memory", a.bank);
  file.read("memory_v", a.bank_v);
  for (int layer = 0; layer < a.bank.size(0); ++layer) {  // per layer: keys, then values
    pool_bank(a.bank.at(layer), model.drawn()[2 * layer].tensor);
    pool_bank(a.bank_v.at(layer), model.drawn()[2 * layer + 1].tensor);
  }
}

void take_step(Model& model, Parameters& parameters, const Arrays& a) {
  model.logits(a.ids, a.logits_by_time);
  swap_outer(a.logits_by_time, a.logits, model.T(), model.B(), a.logits.size(2));
  model.clear_state();
  const LossSum sum = model.loss_and_gradients(a.ids, a.targets, {});
  swap_outer(model.token_loss(), a.token_loss, model.T(), model.B(), 1);
  a.loss.data()[0] = static_cast<float>(sum.mean_loss() + sum.mean_auxiliary());
  a.auxiliary.data()[0] = static_cast<float>(sum.mean_auxiliary());
  copy_values(parameters.weights(), a.weights_before);
  a.grad_norm.data()[0] = static_cast<float>(
      optimizer_step(parameters, OptimizerSettings{}, OptimizerSettings{}.learning_rate, 1));
}

StoredTensors results(const Model& model, const Parameters& parameters, const Arrays& a) {
  StoredTensors result{
      {"ids", to_store(a.ids_by_sequence)}, {"targets", to_store(a.targets_by_sequence)},
      {"logits", to_store(a.logits)},       {"token_loss", to_store(a.token_loss)},
      {"loss", to_store(a.loss)},           {"grad_norm", to_store(a.grad_norm)}};
  if (!model.drawn().empty())
    result.insert({{"memory", to_store(a.bank)}, {"memory_v", to_store(a.bank_v)}});
  if (model.has_auxiliary_loss()) result["aux_loss"] = to_store(a.auxiliary);
  for (const Parameter& parameter : parameters.table()) {
    result["w." + parameter.name] = to_store(parameters.view(a.weights_before, parameter));
    result["g." + parameter.name] = to_store(parameters.view(parameters.gradients(), parameter));
    result["w1." + parameter.name] = to_store(parameters.view(parameters.weights(), parameter));
  }
  return result;
}

}  // namespace

void probe(const std::filesystem::path& input, const std::filesystem::path& output) {
  const SafetensorsFile file(input);
  const Config config = read_config(file, input.string());
  const TensorEntry& stored_ids = file.find("ids");
  if (stored_ids.shape.size() != 2) fail("{}: ids must be [B][T]", input.string());
  const int B = static_cast<int>(stored_ids.shape[0]), T = static_cast<int>(stored_ids.shape[1]);

  Parameters parameters(config);
  for (const Parameter& parameter : parameters.table())
    file.read("w." + parameter.name, parameters.weight(parameter.name));
  Model model(config, config.vocab_size, parameters, T, B, Model::Mode::kTraining, 0);
  const Arrays arrays(config, B, T, model, parameters);
  read_inputs(file, arrays, model);
  take_step(model, parameters, arrays);
  write_safetensors(output, results(model, parameters, arrays), file.metadata());
}

}  // namespace mmrec
