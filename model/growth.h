#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/parameters.h"

namespace mmrec {

/// How a larger model takes over the weights of a smaller one. In both rules the parts of a fused
/// tensor (the six of W_fused, the two halves of mdi.W_g) count as tensors of their own, and layers
/// beyond the old ones are new.
///
/// kOverlap: of every tensor that both models have, copies the index range [0, min) of each axis.
/// All else keeps its initial value. The function changes: the root mean square is over more
/// channels, new rows write into the residual stream, heads read other units.
///
/// kExact: the grown model has the logits of the old one up to rounding. What is new has no
/// influence at first, but gets gradients: see docs/grow-a-model.md.
enum class GrowthRule { kOverlap, kExact };
constexpr GrowthRule growth_rule(bool exact) {
  return exact ? GrowthRule::kExact : GrowthRule::kOverlap;
}

/// What became of one tensor of the grown model.
struct GrownTensor {
  std::string name;
  std::vector<int> before, after;  ///< shapes; `before` is empty if the old model lacks the tensor
  int64_t copied = 0, count = 0;   ///< elements from the old model, and all
};

/// What became of all tensors.
struct Growth {
  std::vector<GrownTensor> tensors;  ///< in the order of the parameter table
  std::vector<std::string> dropped;  ///< names that only the old model has

  int64_t copied() const;
  int64_t count() const;
};

/// Throws a UsageError if the rule cannot make a model `to` of a model `from`; it says why and what
/// helps. kOverlap can always.
void check_growth(const Config& from, const Config& to, GrowthRule rule);

/// Returns why the logits will not be the same, or "": with a random memory kExact keeps them in
/// expectation only, because the slots are other draws.
std::string remaining_difference(const Config& from, const Config& to);

/// Puts the weights of `old`, a model `from`, into `grown`, a model `to` whose weights have their
/// initial values. Calls check_growth.
Growth grow(const Config& from, const Parameters& old, const Config& to, Parameters& grown,
            GrowthRule rule);

/// Describes a growth for people, one line a tensor; equal lines of several layers are one.
std::string growth_table(const Growth& growth);

}  // namespace mmrec
