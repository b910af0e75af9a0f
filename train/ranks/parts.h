#pragma once

#include <vector>

namespace mmrec {

/// Consecutive parts of a step, [begin, end).
struct PartRange {
  int begin, end;
  int count() const { return end - begin; }
  bool contains(const PartRange& other) const { return begin <= other.begin && other.end <= end; }
  bool operator==(const PartRange&) const = default;
};

// Gradients of a step's parts are added in a binary tree that depends on the number of parts alone:
// a node's sum is that of its first half plus that of its second half. So the sum has the same
// bits, whichever rank computes which part.

/// Returns the first half of a node of two parts or more: the largest power of two that leaves a
/// second half.
PartRange first_half(const PartRange& node);
PartRange second_half(const PartRange& node);

/// Returns the parts of rank `rank` of `ranks`: consecutive ones, as many as others have, or one
/// more.
PartRange parts_of_rank(int parts, int rank, int ranks);

/// Returns the nodes of the tree over `parts` parts, in order, that cover `range`: the largest that
/// lie within it.
std::vector<PartRange> nodes_within(int parts, const PartRange& range);

/// Returns how many levels there are below a node: 0 for a single part.
int levels_below(const PartRange& node);

}  // namespace mmrec
