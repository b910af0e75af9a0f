#include "model/parameters.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "model/architecture.h"
#include "runtime/ops/normal.h"
#include "runtime/rng.h"
#include "runtime/threads.h"
#include "support/error.h"
#include "support/same_bits_math.h"

namespace mmrec {

namespace {

/// Throws an Error unless each axis has roles, of parts of equal size.
void check_roles(const std::string& name, const std::vector<int>& shape, const Roles& roles) {
  std::vector<size_t> parts = {roles.rows.size()};
  if (!roles.columns.empty()) parts.push_back(roles.columns.size());
  const auto divides = [](size_t count, int extent) {
    return count > 0 && static_cast<size_t>(extent) % count == 0;
  };
  if (!std::ranges::equal(parts, shape, divides))
    fail("parameter '{}' of shape {} needs roles for each axis, not for {} parts", name, shape,
         parts);
}

}  // namespace

std::string block_prefix(int layer) { return fmt::format("blocks.{}.", layer); }

Initial Initial::fan_in(int in) { return uniform(1 / std::sqrt(static_cast<double>(in))); }

OuterWeights::OuterWeights(const Config& config, const ParameterScope& p)
    : embedding(p.declare("embedding.weight", {config.vocab_size, config.dim},
                          Initial::fan_in(config.dim), {{Role::kTokens}, {Role::kEmbedded}})),
      norm(p.norm("norm", config.dim)) {}

std::vector<Parameter> parameter_table(const Config& config) {
  std::vector<Parameter> table;
  OuterWeights(config, ParameterScope(table, ""));
  const auto block = make_block(config, 1, 1);
  for (int layer = 0; layer < config.layers; ++layer)
    block->declare(ParameterScope(table, block_prefix(layer)));
  std::ranges::stable_partition(table, [](const Parameter& parameter) { return !parameter.last; });
  int64_t end = 0;
  for (Parameter& parameter : table) {
    parameter.offset = parameter.joined ? end : (end + 15) / 16 * 16;
    end = parameter.offset + parameter.count;
  }
  return table;
}

bool is_hidden_matrix(const Parameter& parameter) {
  const auto is_hidden = [](Role role) {
    return role == Role::kChannels || role == Role::kUnits || role == Role::kHeads;
  };
  const Roles& roles = parameter.roles;
  return !roles.columns.empty() && std::ranges::all_of(roles.rows, is_hidden) &&
         std::ranges::all_of(roles.columns, is_hidden);
}

HiddenParts hidden_parts(const Parameter& parameter) {
  const int down = static_cast<int>(parameter.roles.rows.size()),
            across = static_cast<int>(parameter.roles.columns.size());
  return {down, across, parameter.shape[0] / down, parameter.shape[1] / across};
}

int64_t parameter_count(const std::vector<Parameter>& table) {
  int64_t count = 0;
  for (const Parameter& parameter : table) count += parameter.count;
  return count;
}

int64_t flat_size(const std::vector<Parameter>& table) {
  return table.back().offset + (table.back().count + 15) / 16 * 16;
}

std::vector<std::pair<int64_t, int64_t>> backward_order(const std::vector<Parameter>& table) {
  const auto is_of_block = [](const Parameter& parameter, int layer) {
    return !parameter.last && parameter.name.starts_with(block_prefix(layer));
  };
  std::vector<std::pair<int64_t, int64_t>> order;
  const auto add = [&](int64_t begin, int64_t end) {
    if (begin < end) order.emplace_back(begin, end);
  };
  auto row = table.begin();
  while (!is_of_block(*row, 0)) ++row;
  const int64_t first_block = row->offset;
  int64_t begin = first_block;
  for (int layer = 0; row != table.end() && is_of_block(*row, layer); ++layer) {
    while (row != table.end() && is_of_block(*row, layer)) ++row;
    const int64_t end = row == table.end() ? flat_size(table) : row->offset;
    add(begin, end);
    begin = end;
  }
  std::ranges::reverse(order);
  add(0, first_block);
  add(begin, flat_size(table));
  return order;
}

Parameters::Parameters(const Config& config, Arrays arrays, Range moments)
    : table_(parameter_table(config)), moments_(moments) {
  for (size_t i = 0; i < table_.size(); ++i) rows_.emplace(table_[i].name, i);
  if (arrays == Arrays::kNone) return;
  const int64_t floats = flat_size(table_);
  if (floats > kMostParameters)
    fail_usage(
        "a model of {} parameters is too large for this version (at most {}); train --plan shows "
        "what it would need",
        floats, kMostParameters);
  const int n = static_cast<int>(floats);
  moments_.second = std::min(n, moments_.second);
  arena_ = Arena::fitted([&](Arena& arena) {
    weights_ = arena.tensor({n});
    if (arrays >= Arrays::kTrained) gradients_ = arena.tensor({n});
    if (arrays >= Arrays::kTrained)
      for (Tensor* flat : {&m_, &v_}) *flat = arena.tensor({moments_.second - moments_.first});
    if (arrays == Arrays::kAveraged) average_ = arena.tensor({n});
  });
  if (arrays >= Arrays::kTrained) divide();
}

void Parameters::divide() {
  int begin = moments_.first;
  const auto add_range = [&](int64_t end) {
    if (begin < end) other_ranges_.emplace_back(begin, static_cast<int>(end));
  };
  int number = 0;
  for (const Parameter& parameter : table_) {
    if (!is_hidden_matrix(parameter)) continue;
    const int first = number;
    number += hidden_parts(parameter).count();
    if (parameter.offset < moments_.first) continue;
    if (parameter.offset >= moments_.second) break;
    add_hidden_matrices(parameter, first);
    add_range(parameter.offset);
    begin = static_cast<int>(parameter.offset + parameter.count);
  }
  add_range(moments_.second);
}

void Parameters::add_hidden_matrices(const Parameter& parameter, int number) {
  const HiddenParts parts = hidden_parts(parameter);
  const auto part = [&](const Tensor& matrix, int i, int j) {
    return matrix.rows(i * parts.rows, (i + 1) * parts.rows)
        .columns(j * parts.columns, (j + 1) * parts.columns);
  };
  const Tensor weight = view(weights_, parameter), gradient = view(gradients_, parameter),
               moment(m_.data() + (parameter.offset - moments_.first),
                      std::span<const int>(parameter.shape));
  for (int i = 0; i < parts.down; ++i)
    for (int j = 0; j < parts.across; ++j)
      hidden_matrices_.push_back(
          {part(weight, i, j), part(gradient, i, j), part(moment, i, j), number++});
}

const Parameter& Parameters::find(std::string_view name) const {
  const auto found = rows_.find(name);
  if (found == rows_.end()) fail("there is no parameter '{}'", name);
  return table_[found->second];
}

Tensor Parameters::view(const Tensor& flat, const Parameter& parameter) const {
  float* data = flat.data() ? flat.data() + parameter.offset : nullptr;
  return Tensor(data, std::span<const int>(parameter.shape));
}

void Parameters::clear_gradients() {
  constexpr int kChunk = 1 << 16;
  const int count = gradients_.size(0);
  parallel_for((count + kChunk - 1) / kChunk, [&](int chunk) {
    set_zero(
        gradients_.rows(chunk * kChunk, std::min<int64_t>(count, (int64_t{chunk} + 1) * kChunk)));
  });
}

void Parameters::initialise(uint64_t seed) {
  for (const Tensor& flat : {weights_, gradients_, m_, v_}) set_zero(flat);
  for (size_t i = 0; i < table_.size(); ++i) {
    const Parameter& parameter = table_[i];
    const Philox random(seed, rng_stream(Stream::kInitialisation, i));
    float* values = weights_.data() + parameter.offset;
    const double value = parameter.initial.value;
    switch (parameter.initial.kind) {
      case Initial::Kind::kConstant:
        std::fill_n(values, parameter.count, static_cast<float>(value));
        break;
      case Initial::Kind::kUniform:
        for (int64_t j = 0; j < parameter.count; ++j)
          values[j] = static_cast<float>(value * (2.0 * random.uniform(j) - 1.0));
        break;
      case Initial::Kind::kNormal:
        ops::fill_normal(random, 0, static_cast<float>(value), view(weights_, parameter));
        break;
      case Initial::Kind::kSpread:
        for (int64_t j = 0; j < parameter.count; ++j) {
          const double share = static_cast<double>(j) /
                               static_cast<double>(std::max<int64_t>(parameter.count - 1, 1));
          const double gate = std::sqrt(value + (parameter.initial.last - value) * share);
          values[j] = static_cast<float>(same_bits::log(gate / (1 - gate)));
        }
        break;
    }
  }
  start_average();
}

void Parameters::start_average() {
  if (has_average()) copy_values(weights_, average_);
}

void Parameters::swap_average() {
  if (has_average())
    std::swap_ranges(weights_.data(), weights_.data() + weights_.count(), average_.data());
}

Tensor ParameterScope::declare(std::string_view name, std::vector<int> shape,
                               const Initial& initial, Roles roles) const {
  return add(name, std::move(shape), initial, std::move(roles), {});
}

Tensor ParameterScope::declare_last(std::string_view name, std::vector<int> shape,
                                    const Initial& initial, Roles roles) const {
  return add(name, std::move(shape), initial, std::move(roles), {.last = true});
}

Linear ParameterScope::linear(const std::string& name, int out, int in, const Roles& roles,
                              const Initial& bias) const {
  return {add_weight(name, out, in, roles, {}), add_bias(name, out, bias, roles, {})};
}

Linear ParameterScope::linear_last(const std::string& name, int out, int in,
                                   const Roles& roles) const {
  constexpr Place kLast = {.last = true};
  return {add_weight(name, out, in, roles, kLast),
          add_bias(name, out, Initial::fan_in(in), roles, kLast)};
}

Linear ParameterScope::linear_joined(const std::vector<std::pair<std::string, Roles>>& layers,
                                     int out, int in) const {
  std::vector<Tensor> weights, biases;
  for (const auto& [name, roles] : layers)
    weights.push_back(add_weight(name, out, in, roles, {.joined = !weights.empty()}));
  for (const auto& [name, roles] : layers)
    biases.push_back(add_bias(name, out, Initial::fan_in(in), roles, {.joined = !biases.empty()}));
  if (table_) return {};
  const int rows = static_cast<int>(layers.size()) * out;
  return {Tensor(weights[0].data(), {rows, in}), Tensor(biases[0].data(), {rows})};
}

Tensor ParameterScope::add_weight(const std::string& layer, int out, int in, const Roles& roles,
                                  Place place) const {
  return add(layer + ".weight", {out, in}, Initial::fan_in(in), roles, place);
}

Tensor ParameterScope::add_bias(const std::string& layer, int out, const Initial& initial,
                                const Roles& roles, Place place) const {
  return add(layer + ".bias", {out}, initial, {.rows = roles.rows}, place);
}

Tensor ParameterScope::add(std::string_view name, std::vector<int> shape, const Initial& initial,
                           Roles roles, Place place) const {
  std::string full = fmt::format("{}{}", prefix_, name);
  if (parameters_) {
    const Parameter& row = parameters_->find(full);
    if (row.shape != shape)
      fail("parameter '{}' has shape {}, but its block asks for {}", full, row.shape, shape);
    return parameters_->view(flat_, row);
  }
  // the rows of a prefix lie together, so those of other blocks need not be searched
  for (auto row = table_->rbegin(); row != table_->rend() && row->name.starts_with(prefix_); ++row)
    if (row->name == full) fail("parameter '{}' is declared twice", full);
  check_roles(full, shape, roles);
  int64_t count = 1;
  for (const int extent : shape) count *= extent;
  table_->push_back({.name = std::move(full),
                     .shape = std::move(shape),
                     .initial = initial,
                     .roles = std::move(roles),
                     .last = place.last,
                     .joined = place.joined,
                     .offset = 0,
                     .count = count});
  return {};
}

}  // namespace mmrec
