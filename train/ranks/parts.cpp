#include "train/ranks/parts.h"

#include <algorithm>
#include <bit>
#include <cstdint>

namespace mmrec {

namespace {

int middle(const PartRange& node) {
  return node.begin + static_cast<int>(std::bit_floor(static_cast<unsigned>(node.count()) - 1));
}

void add_nodes(const PartRange& node, const PartRange& range, std::vector<PartRange>& nodes) {
  if (node.end <= range.begin || range.end <= node.begin) return;
  if (range.contains(node)) {
    nodes.push_back(node);
    return;
  }
  add_nodes(first_half(node), range, nodes);
  add_nodes(second_half(node), range, nodes);
}

}  // namespace

PartRange first_half(const PartRange& node) { return {node.begin, middle(node)}; }
PartRange second_half(const PartRange& node) { return {middle(node), node.end}; }

PartRange parts_of_rank(int parts, int rank, int ranks) {
  const auto first = [&](int64_t of) { return static_cast<int>(of * parts / ranks); };
  return {first(rank), first(rank + 1)};
}

std::vector<PartRange> nodes_within(int parts, const PartRange& range) {
  std::vector<PartRange> nodes;
  add_nodes({0, parts}, range, nodes);
  return nodes;
}

int levels_below(const PartRange& node) {
  if (node.count() <= 1) return 0;
  return 1 + std::max(levels_below(first_half(node)), levels_below(second_half(node)));
}

}  // namespace mmrec
