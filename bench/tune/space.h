#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "generators/registry/instance.h"

namespace mmrec::tune {

using namespace registry;  // for Instance

/// A parameter of a generator, and its values worth trying, in ascending order.
struct Axis {
  std::string name;
  std::vector<int> values;
  size_t standard = 0;  ///< index of the default

  /// The value 0 means "chosen by the target". It has no neighbours in the order of values.
  bool automatic(size_t index) const { return values[index] == 0; }
};

/// A point of a space: for each axis, an index into its values.
using Point = std::vector<size_t>;

/// The instances of a variant that may be tried.
struct Space {
  std::string variant;
  std::vector<Axis> axes;
  /// Whether an instance's parameters are worth trying together. Empty: all are.
  std::function<bool(const Instance&)> sensible = nullptr;

  double size() const;
  Point defaults() const;
  /// Names only the parameters that differ from the defaults.
  Instance instance(const Point& point) const;
  /// Returns the point of an instance. A value that is not listed becomes the nearest one.
  Point nearest(const Instance& instance) const;
  Point random(uint64_t seed, uint64_t draw) const;
  /// Returns all points, sensible or not, with the defaults first.
  std::vector<Point> grid() const;
  /// Returns the neighbours: one parameter moved by one value. From the value 0, any other value.
  std::vector<Point> steps(const Point& from) const;
  /// Returns the points with one parameter up and another one down. A register tile that grows in
  /// one direction must shrink in the other.
  std::vector<Point> trades(const Point& from) const;
};

}  // namespace mmrec::tune
