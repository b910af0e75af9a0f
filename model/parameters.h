#pragma once

#include <climits>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/config.h"
#include "model/roles.h"
#include "runtime/arena.h"
#include "runtime/ops/weight.h"
#include "runtime/tensor.h"

namespace mmrec {

/// Initial distribution of a parameter: constant `value`, uniform in [-value, value], normal with
/// standard deviation `value`, or spread: the squares of the elements' sigmoids go evenly from
/// `value` to `last`.
struct Initial {
  enum class Kind { kConstant, kUniform, kNormal, kSpread };
  static Initial constant(double value) { return {Kind::kConstant, value}; }
  static Initial uniform(double bound) { return {Kind::kUniform, bound}; }
  static Initial normal(double deviation) { return {Kind::kNormal, deviation}; }
  static Initial spread(double first, double last) { return {Kind::kSpread, first, last}; }
  /// The default of a linear layer: U(-1/sqrt(in), 1/sqrt(in)).
  static Initial fan_in(int in);

  Kind kind;
  double value, last = 0;
};

/// One row of the parameter table: a named parameter and its place in the flat arrays.
struct Parameter {
  std::string name;        ///< as in checkpoints, for example "blocks.0.ffn.0.weight"
  std::vector<int> shape;  ///< [out, in] for weights
  Initial initial;
  Roles roles;            ///< for growing
  bool last;              ///< placed after all parameters without this flag
  bool joined;            ///< begins where the parameter before it ends
  int64_t offset, count;  ///< in floats; offsets are multiples of 16 unless joined
};

/// Returns whether a parameter is a matrix inside the network, from channels or units to channels
/// or units: not the embedding, a norm, a bias or a memory.
bool is_hidden_matrix(const Parameter& parameter);

/// The equal parts that its roles make of a hidden matrix: `down` times `across` of them, [rows]
/// [columns] each.
struct HiddenParts {
  int down, across, rows, columns;
  int count() const { return down * across; }
};
HiddenParts hidden_parts(const Parameter& parameter);

/// The most parameters that this version can hold: a flat array has an int as its size.
inline constexpr int64_t kMostParameters = INT32_MAX;
/// Returns the size of a flat array, in floats.
int64_t flat_size(const std::vector<Parameter>& table);

/// Returns the name prefix of a block's parameters, "blocks.<layer>.".
std::string block_prefix(int layer);
/// Returns the parameters of a configuration in the order of checkpoints.
std::vector<Parameter> parameter_table(const Config& config);
/// Returns the number of parameters, without the padding between them.
int64_t parameter_count(const std::vector<Parameter>& table);

/// Returns parts [begin, end) of the flat arrays, in the order in which a backward pass completes
/// their gradients: those of the blocks, the last block's first, then all others.
std::vector<std::pair<int64_t, int64_t>> backward_order(const std::vector<Parameter>& table);

/// Weights, gradients and the optimizer's moments: four flat arrays with the same layout, a fifth
/// if the weights are averaged, and the table of named views into them.
class Parameters {
 public:
  /// kTrained: all but the average. kWeights: only the weights, for a model that is used but not
  /// trained, in a quarter of the memory. kNone: only the table, of any size. The data of the
  /// arrays that there are not, and of views into them, is null.
  enum class Arrays { kNone, kWeights, kTrained, kAveraged };
  /// Part [begin, end) of the flat arrays.
  using Range = std::pair<int, int>;
  static constexpr Range kAll = {0, INT_MAX};
  /// moments: the part that has moments here, of a process that shares the optimizer's work with
  /// others; see optimizer_shares().
  explicit Parameters(const Config& config, Arrays arrays = Arrays::kTrained, Range moments = kAll);

  const std::vector<Parameter>& table() const { return table_; }
  const Parameter& find(std::string_view name) const;  ///< throws an Error for an unknown name

  /// The flat arrays [n]; the moments have moments_range() only. The padding between parameters is
  /// always zero.
  const Tensor& weights() const { return weights_; }
  const Tensor& gradients() const { return gradients_; }
  const Tensor& first_moments() const { return m_; }
  const Tensor& second_moments() const { return v_; }
  const Range& moments_range() const { return moments_; }
  const Tensor& average() const { return average_; }
  bool has_average() const { return average_.data() != nullptr; }

  /// Returns the view of one parameter in a flat array, in the parameter's shape.
  Tensor view(const Tensor& flat, const Parameter& parameter) const;
  /// A hidden matrix, or one of its parts.
  struct HiddenMatrix {
    Tensor weight, gradient, first_moment;
    int number;  ///< among those of the whole model
  };
  /// All of them that have moments here, and the parts of moments_range() that lie between them;
  /// none without gradients.
  const std::vector<HiddenMatrix>& hidden_matrices() const { return hidden_matrices_; }
  const std::vector<Range>& other_ranges() const { return other_ranges_; }

  Tensor weight(std::string_view name) const { return view(weights_, find(name)); }
  Tensor gradient(std::string_view name) const { return view(gradients_, find(name)); }

  /// Sets gradients() to zero. Models add to them.
  void clear_gradients();
  /// Draws the weights from `seed`; sets gradients and moments to zero, and starts the average.
  /// Needs gradients.
  void initialise(uint64_t seed);
  /// Sets the average, if there is one, to the weights.
  void start_average();
  /// Exchanges the values of weights and average; nothing without an average.
  void swap_average();

 private:
  void add_hidden_matrices(const Parameter& parameter, int number);
  void divide();

  std::vector<Parameter> table_;
  std::map<std::string, size_t, std::less<>> rows_;  // by name
  Arena arena_;
  Range moments_;
  Tensor weights_, gradients_, m_, v_, average_;
  std::vector<HiddenMatrix> hidden_matrices_;
  std::vector<Range> other_ranges_;
};

/// Parameters of a linear layer: weight [out][in], bias [out].
struct Linear {
  ops::Weight weight;
  Tensor bias;
};

/// Declares parameters by name, after a prefix ("blocks.0."). Constructed over a table, declare()
/// adds a row and returns an empty tensor; it throws an Error if the name is there already.
/// Constructed over a flat array, declare() returns the view of that row; it throws an Error if the
/// row has another shape. So one constructor names every parameter of a part once.
class ParameterScope {
 public:
  ParameterScope(std::vector<Parameter>& table, std::string prefix)
      : table_(&table), prefix_(std::move(prefix)) {}
  ParameterScope(const Parameters& parameters, const Tensor& flat, std::string prefix)
      : parameters_(&parameters), flat_(flat), prefix_(std::move(prefix)) {}

  Tensor declare(std::string_view name, std::vector<int> shape, const Initial& initial,
                 Roles roles) const;
  /// For parameters that only some configurations have. Their rows come after all others, so the
  /// layout of the other parameters does not change.
  Tensor declare_last(std::string_view name, std::vector<int> shape, const Initial& initial,
                      Roles roles) const;
  /// Declares name.weight [D], initially ones.
  Tensor norm(const std::string& name, int D) const {
    return declare(name + ".weight", {D}, Initial::constant(1), {{Role::kNorm}});
  }
  /// Declares name.weight [out][in] and name.bias [out], with the roles of the weight.
  Linear linear(const std::string& name, int out, int in, const Roles& roles) const {
    return linear(name, out, in, roles, Initial::fan_in(in));
  }
  Linear linear(const std::string& name, int out, int in, const Roles& roles,
                const Initial& bias) const;
  /// The same, as declare_last.
  Linear linear_last(const std::string& name, int out, int in, const Roles& roles) const;
  /// Declares layers of the same sizes. Their weights lie below each other, without padding, and so
  /// do their biases. Returns one view of all of them: the rows of the first, then those of the
  /// second, ..
  Linear linear_joined(const std::vector<std::pair<std::string, Roles>>& layers, int out,
                       int in) const;

 private:
  struct Place {
    bool last = false, joined = false;
  };
  Tensor add_weight(const std::string& layer, int out, int in, const Roles& roles,
                    Place place) const;
  Tensor add_bias(const std::string& layer, int out, const Initial& initial, const Roles& roles,
                  Place place) const;
  Tensor add(std::string_view name, std::vector<int> shape, const Initial& initial, Roles roles,
             Place place) const;

  std::vector<Parameter>* table_ = nullptr;
  const Parameters* parameters_ = nullptr;
  Tensor flat_;
  std::string prefix_;
};

/// The parameters outside the blocks.
struct OuterWeights {
  OuterWeights(const Config& config, const ParameterScope& parameters);

  Tensor embedding;  ///< [V][D], shared with the head
  Tensor norm;       ///< [D], after the last block
};

}  // namespace mmrec
