// The tree in which gradients of a step's parts are added.
#include "train/ranks/parts.h"

#include <gtest/gtest.h>

#include <string>

namespace mmrec {
namespace {

/// Writes a node as the sums it stands for: "((0+1)+2)".
std::string written(const PartRange& node) {
  if (node.count() == 1) return std::to_string(node.begin);
  return "(" + written(first_half(node)) + "+" + written(second_half(node)) + ")";
}

TEST(Parts, TreeIsFixed) {
  EXPECT_EQ(written({0, 1}), "0");
  EXPECT_EQ(written({0, 2}), "(0+1)");
  EXPECT_EQ(written({0, 3}), "((0+1)+2)");
  EXPECT_EQ(written({0, 4}), "((0+1)+(2+3))");
  EXPECT_EQ(written({0, 5}), "(((0+1)+(2+3))+4)");
  EXPECT_EQ(written({0, 6}), "(((0+1)+(2+3))+(4+5))");
  EXPECT_EQ(levels_below({0, 1}), 0);
  EXPECT_EQ(levels_below({0, 5}), 3);
  EXPECT_EQ(levels_below({0, 1024}), 10);
}

TEST(Parts, RanksHaveConsecutiveParts) {
  for (int parts = 1; parts <= 40; ++parts)
    for (int ranks = 1; ranks <= parts; ++ranks) {
      int next = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const PartRange range = parts_of_rank(parts, rank, ranks);
        EXPECT_EQ(range.begin, next);
        EXPECT_GE(range.count(), parts / ranks);
        EXPECT_LE(range.count(), parts / ranks + 1);
        next = range.end;
      }
      EXPECT_EQ(next, parts);
    }
}

/// Each rank's nodes are nodes of the one tree, cover its parts once, and no two of them are halves
/// of one node.
TEST(Parts, NodesOfRanksAreOfTheTree) {
  for (int parts = 1; parts <= 40; ++parts) {
    const std::string tree = written({0, parts});
    for (int ranks = 1; ranks <= parts; ++ranks)
      for (int rank = 0; rank < ranks; ++rank) {
        const PartRange range = parts_of_rank(parts, rank, ranks);
        int next = range.begin;
        for (const PartRange& node : nodes_within(parts, range)) {
          EXPECT_EQ(node.begin, next);
          EXPECT_NE(tree.find(written(node)), std::string::npos);
          next = node.end;
        }
        EXPECT_EQ(next, range.end);
      }
    EXPECT_EQ(nodes_within(parts, {0, parts}), std::vector<PartRange>({{0, parts}}));
  }
  EXPECT_EQ(nodes_within(12, {4, 8}), std::vector<PartRange>({{4, 8}}));
  EXPECT_EQ(nodes_within(12, {3, 8}), std::vector<PartRange>({{3, 4}, {4, 8}}));
}

}  // namespace
}  // namespace mmrec
