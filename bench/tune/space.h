#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "generators/registry/instance.h"

namespace mmrec::tune {

using namespace registry;  // calls, instances and rows are the tables'

/// A parameter of a generator and its values worth trying, in ascending order.
struct Axis {
  std::string name;
  std::vector<int> values;
  size_t standard = 0;  ///< index of the default

  /// The value 0 says "as the target wants it": it has no place among the others.
  bool automatic(size_t index) const { return values[index] == 0; }
};

/// A point of a space: an index into each axis' values.
using Point = std::vector<size_t>;

/// The instances of a variant that may be tried.
struct Space {
  std::string variant;
  std::vector<Axis> axes;
  /// Whether the parameters of an instance are worth trying together; empty: all are.
  std::function<bool(const Instance&)> sensible = nullptr;

  double size() const;
  Point defaults() const;
  /// What stands beside the defaults is named.
  Instance instance(const Point& point) const;
  /// The point of an instance, the nearest one where a value is none of those listed.
  Point nearest(const Instance& instance) const;
  Point random(uint64_t seed, uint64_t draw) const;
  /// All of it, whether sensible or not, the defaults first.
  std::vector<Point> grid() const;
  /// One parameter, one value up or down; from 0 to all values.
  std::vector<Point> steps(const Point& from) const;
  /// Two parameters, one up and one down: a register tile that grows in one direction has to shrink
  /// in the other.
  std::vector<Point> trades(const Point& from) const;
};

}  // namespace mmrec::tune
