#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/config.h"
#include "runtime/arena.h"
#include "runtime/tensor.h"

namespace mmrec {

/// How a parameter starts: every element `value`, or uniform within +-value, or normal with that deviation.
struct Initial {
  enum class Kind { kConstant, kUniform, kNormal };
  static Initial constant(double value) { return {Kind::kConstant, value}; }
  static Initial uniform(double bound) { return {Kind::kUniform, bound}; }
  static Initial normal(double deviation) { return {Kind::kNormal, deviation}; }
  /// Of a linear layer: U(-1/sqrt(in), 1/sqrt(in)).
  static Initial fan_in(int in);

  Kind kind;
  double value;
};

/// One row of the table: where a named parameter lies in the flat arrays.
struct Parameter {
  std::string name;        ///< as in every checkpoint, for example "blocks.0.ffn.0.weight"
  std::vector<int> shape;  ///< [out, in] for weights
  Initial initial;
  bool last;              ///< comes after all that are not
  int64_t offset, count;  ///< in floats; offsets are multiples of 16
};

/// What the names of a block's parameters begin with.
std::string block_prefix(int layer);
/// The parameters of a configuration, in the order of the checkpoints.
std::vector<Parameter> parameter_table(const Config& config);
/// Number of parameters, without the padding between them.
int64_t parameter_count(const std::vector<Parameter>& table);

/// Weights, gradients and AdamW's moments as four flat arrays of the same layout, with the table of named views.
class Parameters {
 public:
  explicit Parameters(const Config& config);

  const std::vector<Parameter>& table() const { return table_; }
  const Parameter& find(std::string_view name) const;  ///< throws for an unknown name

  /// The flat arrays [n]; the padding between parameters is zero in all of them and stays so.
  const Tensor& weights() const { return weights_; }
  const Tensor& gradients() const { return gradients_; }
  const Tensor& first_moments() const { return m_; }
  const Tensor& second_moments() const { return v_; }

  /// The part of a flat array that belongs to a parameter, in its shape.
  Tensor view(const Tensor& flat, const Parameter& parameter) const;
  Tensor weight(std::string_view name) const { return view(weights_, find(name)); }
  Tensor gradient(std::string_view name) const { return view(gradients_, find(name)); }

  /// Zeros in gradients(), to which a model adds.
  void clear_gradients();
  /// Draws the weights (the same for the same seed), clears gradients and moments.
  void initialise(uint64_t seed);

 private:
  std::vector<Parameter> table_;
  Arena arena_;
  Tensor weights_, gradients_, m_, v_;
};

/// A linear layer's parameters: [out][in], [out].
struct Linear {
  Tensor weight, bias;
};

/// Where parameters are declared, each by its name after the prefix ("blocks.0."). Over a table a declaration adds a row and returns an empty
/// tensor; over a flat array it returns the view of the row that was added. So one constructor names every parameter of a part once.
class ParameterScope {
 public:
  ParameterScope(std::vector<Parameter>& table, std::string prefix) : table_(&table), prefix_(std::move(prefix)) {}
  ParameterScope(const Parameters& parameters, const Tensor& flat, std::string prefix)
      : parameters_(&parameters), flat_(flat), prefix_(std::move(prefix)) {}

  Tensor declare(std::string_view name, std::vector<int> shape, const Initial& initial) const;
  /// For parameters that only some configurations have: their rows come after all others, which so begin as they do without.
  Tensor declare_last(std::string_view name, std::vector<int> shape, const Initial& initial) const;
  /// name.weight [D], ones.
  Tensor norm(const std::string& name, int D) const { return declare(name + ".weight", {D}, Initial::constant(1)); }
  /// name.weight and name.bias.
  Linear linear(const std::string& name, int out, int in) const;

 private:
  Tensor add(std::string_view name, std::vector<int> shape, const Initial& initial, bool last) const;

  std::vector<Parameter>* table_ = nullptr;
  const Parameters* parameters_ = nullptr;
  Tensor flat_;
  std::string prefix_;
};

/// What a model has beside its blocks.
struct OuterWeights {
  OuterWeights(const Config& config, const ParameterScope& parameters);

  Tensor embedding;  ///< [V][D], the head's too
  Tensor norm;       ///< [D], after the last block
};

}  // namespace mmrec
