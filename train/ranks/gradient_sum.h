#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "runtime/arena.h"
#include "runtime/tensor.h"
#include "train/ranks/parts.h"
#include "train/ranks/ranks.h"

namespace mmrec {

/// Adds up the gradients of a step's parts, which the ranks divide among themselves, in the tree of
/// parts.h: the same bits for any number of ranks. Each rank sends its nodes' sums to the ranks
/// that add them up, each in its slice of the array, and all get all slices.
class GradientSum {
 public:
  /// How the ranks' sums are added. kTree: as above. kFast: each rank adds its parts one after the
  /// other, and MPI adds the ranks' sums: other roundings with another number of ranks.
  enum class Order { kTree, kFast };
  /// Returns the order of a name, tree or fast. Throws a UsageError for another name.
  static Order parse_order(std::string_view name);

  /// gradients: the flat array [n] into which parts are computed. Throws a UsageError if there are
  /// more ranks than parts.
  GradientSum(const Tensor& gradients, int parts, Order order, Ranks& ranks);

  /// Computes this rank's parts with `compute(part)`, which adds to the gradients, which are zero
  /// when it is called, or hold the rank's earlier parts (kFast).
  void compute(const std::function<void(int part)>& compute);
  /// Afterwards, if all ranks have computed theirs: the sum of all parts is in the gradients.
  void add_ranks();

  PartRange mine() const { return mine_; }
  size_t bytes() const { return arena_.used(); }
  /// Returns the bytes() of one process alone, for so many gradients: one more array for each level
  /// of the tree.
  static size_t bytes(int64_t gradients, int parts);

 private:
  void compute_node(const PartRange& node, int level, const std::function<void(int)>& compute);
  /// Returns the sum of a node in this rank's slice: received, or of its halves.
  float* slice_of(const PartRange& node);

  Tensor gradients_;
  int parts_;
  Order order_;
  Ranks& ranks_;
  PartRange mine_;
  Arena arena_;
  std::vector<Tensor> levels_;  // first halves that wait for their second ones
  std::vector<PartRange> nodes_;
  std::vector<Tensor> sums_;  // of the nodes, with several ranks
  struct Received {
    PartRange node;
    float* slice;
  };
  std::vector<Received> received_;  // this rank's slice of all ranks' nodes
  std::vector<Ranks::Transfer> sends_, receives_;
  std::vector<int64_t> slices_;  // where each rank's begins
};

}  // namespace mmrec
