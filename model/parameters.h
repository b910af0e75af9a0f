#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"
#include "runtime/arena.h"
#include "runtime/tensor.h"

namespace mmrec {

/// How a parameter starts.
enum class Init {
  kOne,
  kZero,
  kUniform,       ///< U(-1/sqrt(fan_in), 1/sqrt(fan_in))
  kXavierBlocks,  ///< each fan_in x fan_in block of rows U(-sqrt(6/(in+out)), ..)
  kNormal,        ///< N(0, 0.02), for slots of the memory
};

/// One row of the table: where a named parameter lies in the flat arrays.
struct Parameter {
  std::string name;        ///< as in every checkpoint, for example "blocks.0.ffn.0.weight"
  std::vector<int> shape;  ///< [out, in] for weights
  Init init;
  int fan_in;
  int64_t offset, count;  ///< in floats; offsets are multiples of 16
};

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

  /// Draws the weights (the same for the same seed), clears gradients and moments.
  void initialise(uint64_t seed);

 private:
  std::vector<Parameter> table_;
  Arena arena_;
  Tensor weights_, gradients_, m_, v_;
};

}  // namespace mmrec
