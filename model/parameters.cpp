#include "model/parameters.h"

#include <algorithm>
#include <cmath>

#include "model/memory.h"
#include "runtime/rng.h"
#include "support/error.h"

namespace mmrec {

std::vector<Parameter> parameter_table(const Config& config) {
  const int D = config.dim, V = config.vocab_size;
  std::vector<Parameter> table;
  int64_t offset = 0;
  auto add = [&](const std::string& name, std::vector<int> shape, Init init, int fan_in) {
    int64_t count = 1;
    for (const int extent : shape) count *= extent;
    table.push_back({name, std::move(shape), init, fan_in, offset, count});
    offset += (count + 15) / 16 * 16;
  };
  auto add_linear = [&](const std::string& name, int out, int in) {
    add(name + ".weight", {out, in}, Init::kUniform, in);
    add(name + ".bias", {out}, Init::kUniform, in);
  };

  add("embedding.weight", {V, D}, Init::kUniform, D);
  add("norm.weight", {D}, Init::kOne, D);
  for (int layer = 0; layer < config.layers; ++layer) {
    const std::string block = fmt::format("blocks.{}.", layer);
    add(block + "W_fused.weight", {6 * D, D}, Init::kXavierBlocks, D);
    add(block + "W_fused.bias", {6 * D}, Init::kZero, D);
    add_linear(block + "W_g", D, D);
    add(block + "norm1.weight", {D}, Init::kOne, D);
    add(block + "norm2.weight", {D}, Init::kOne, D);
    add_linear(block + "mdi.W_g", D, 2 * D);
    for (const char* mlp : {"mdi.W_gamma", "mdi.W_context"}) {
      add_linear(block + mlp + ".0", D / 4, D);
      add_linear(block + mlp + ".2", D, D / 4);
    }
    add_linear(block + "multi_mem_attention.W_q", D, D);
    add_linear(block + "multi_mem_attention.W_o", D, D);
    add_linear(block + "ffn.0", 4 * D, D);
    add_linear(block + "ffn.3", D, 4 * D);
  }
  if (learns_memory(config))  // last, so that all others begin as they do without
    for (int layer = 0; layer < config.layers; ++layer)
      for (const char* bank : {"k", "v"}) add(fmt::format("blocks.{}.memory.{}", layer, bank), {top_slots(config), D}, Init::kNormal, D);
  return table;
}

int64_t parameter_count(const std::vector<Parameter>& table) {
  int64_t count = 0;
  for (const Parameter& parameter : table) count += parameter.count;
  return count;
}

Parameters::Parameters(const Config& config) : table_(parameter_table(config)) {
  const int64_t floats = table_.back().offset + (table_.back().count + 15) / 16 * 16;
  if (floats > INT32_MAX) fail("a model of {} parameters is too large for this version (at most {})", floats, INT32_MAX);
  const int n = static_cast<int>(floats);
  arena_ = Arena::fitted([&](Arena& arena) {
    for (Tensor* flat : {&weights_, &gradients_, &m_, &v_}) *flat = arena.tensor({n});
  });
}

const Parameter& Parameters::find(std::string_view name) const {
  const auto found = std::find_if(table_.begin(), table_.end(), [&](const Parameter& p) { return p.name == name; });
  if (found == table_.end()) fail("there is no parameter '{}'", name);
  return *found;
}

Tensor Parameters::view(const Tensor& flat, const Parameter& parameter) const {
  return Tensor(flat.data() + parameter.offset, std::span<const int>(parameter.shape));
}

void Parameters::initialise(uint64_t seed) {
  for (const Tensor& flat : {weights_, gradients_, m_, v_}) set_zero(flat);
  for (size_t i = 0; i < table_.size(); ++i) {
    const Parameter& parameter = table_[i];
    const Philox random(seed, rng_stream(Stream::kInitialisation, i));
    float* values = weights_.data() + parameter.offset;
    const auto fill_uniform = [&](double bound) {
      for (int64_t j = 0; j < parameter.count; ++j) values[j] = static_cast<float>(bound * (2.0 * random.uniform(j) - 1.0));
    };
    switch (parameter.init) {
      case Init::kOne:
        std::fill_n(values, parameter.count, 1.f);
        break;
      case Init::kZero:
        break;
      case Init::kUniform:
        fill_uniform(1 / std::sqrt(static_cast<double>(parameter.fan_in)));
        break;
      case Init::kXavierBlocks:
        fill_uniform(std::sqrt(6.0 / (2.0 * parameter.fan_in)));
        break;
      case Init::kNormal:
        random.fill_normal(0, kSlotDeviation, values, parameter.count);
        break;
    }
  }
}

}  // namespace mmrec
