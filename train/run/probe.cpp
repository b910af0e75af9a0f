#include "train/run/probe.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

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

}  // namespace

void probe(const std::filesystem::path& input, const std::filesystem::path& output) {
  const SafetensorsFile file(input);
  const auto config_text = file.metadata().find("config");
  if (config_text == file.metadata().end())
    fail("{}: the metadata have no 'config'", input.string());
  const Config config =
      config_from_json(parse_json(config_text->second, input.string()), Config{}, input.string());
  const TensorEntry& stored_ids = file.find("ids");
  if (stored_ids.shape.size() != 2) fail("{}: ids must be [B][T]", input.string());
  const int B = static_cast<int>(stored_ids.shape[0]), T = static_cast<int>(stored_ids.shape[1]),
            L = config.layers, D = config.dim, V = config.vocab_size;

  Parameters parameters(config);
  for (const Parameter& parameter : parameters.table())
    file.read("w." + parameter.name, parameters.weight(parameter.name));
  Model model(config, V, parameters, T, B, Model::Mode::kTraining, 0);

  IntTensor ids_by_sequence, targets_by_sequence, ids, targets;
  Tensor bank, bank_v, logits_by_time, logits, token_loss, loss, auxiliary, grad_norm,
      weights_before;
  const Arena memory_of_all = Arena::fitted([&](Arena& arena) {
    for (IntTensor* tensor : {&ids_by_sequence, &targets_by_sequence})
      *tensor = arena.take<int32_t>({B, T});
    for (IntTensor* tensor : {&ids, &targets}) *tensor = arena.take<int32_t>({T, B});
    if (!model.drawn().empty())
      for (Tensor* tensor : {&bank, &bank_v}) *tensor = arena.tensor({L, config.mem_slots, D});
    logits_by_time = arena.tensor({T, B, V});
    logits = arena.tensor({B, T, V});
    token_loss = arena.tensor({B, T});
    for (Tensor* tensor : {&loss, &auxiliary, &grad_norm}) *tensor = arena.tensor({1});
    weights_before = arena.tensor({parameters.weights().size(0)});
  });

  file.read("ids", ids_by_sequence);
  file.read("targets", targets_by_sequence);
  swap_outer(ids_by_sequence, ids, B, T, 1);
  swap_outer(targets_by_sequence, targets, B, T, 1);
  StoredTensors result;
  if (!model.drawn().empty()) {  // per layer: keys, then values
    for (const auto& [name, all] : {std::pair("memory", bank), {"memory_v", bank_v}}) {
      file.read(name, all);
      result[name] = to_store(all);
    }
    for (int layer = 0; layer < L; ++layer) {
      pool_bank(bank.at(layer), model.drawn()[2 * layer].tensor);
      pool_bank(bank_v.at(layer), model.drawn()[2 * layer + 1].tensor);
    }
  }

  model.logits(ids, logits_by_time);
  swap_outer(logits_by_time, logits, T, B, V);
  model.clear_state();
  const LossSum sum = model.loss_and_gradients(ids, targets, {});
  swap_outer(model.token_loss(), token_loss, T, B, 1);
  loss.data()[0] = static_cast<float>(sum.mean_loss() + sum.mean_auxiliary());
  auxiliary.data()[0] = static_cast<float>(sum.mean_auxiliary());
  std::copy_n(parameters.weights().data(), parameters.weights().size(0), weights_before.data());
  grad_norm.data()[0] = static_cast<float>(
      optimizer_step(parameters, OptimizerSettings{}, OptimizerSettings{}.learning_rate, 1));

  result.insert({{"ids", to_store(ids_by_sequence)},
                 {"targets", to_store(targets_by_sequence)},
                 {"logits", to_store(logits)},
                 {"token_loss", to_store(token_loss)},
                 {"loss", to_store(loss)},
                 {"grad_norm", to_store(grad_norm)}});
  if (model.has_auxiliary_loss()) result["aux_loss"] = to_store(auxiliary);
  for (const Parameter& parameter : parameters.table()) {
    result["w." + parameter.name] = to_store(parameters.view(weights_before, parameter));
    result["g." + parameter.name] = to_store(parameters.view(parameters.gradients(), parameter));
    result["w1." + parameter.name] = to_store(parameters.view(parameters.weights(), parameter));
  }
  write_safetensors(output, result, file.metadata());
}

}  // namespace mmrec
