#include "bench/tune/space.h"

#include <algorithm>
#include <cmath>

#include "runtime/rng.h"

namespace mmrec::tune {

namespace {

/// Appends the point that is one value up or down on axis i, if there is one.
void add_step(const Axis& axis, const Point& from, size_t i, int direction,
              std::vector<Point>& to) {
  // below 0 wraps around, beyond the end
  const size_t index = from[i] + static_cast<size_t>(direction);
  if (axis.automatic(from[i]) || index >= axis.values.size() || axis.automatic(index)) return;
  to.push_back(from);
  to.back()[i] = index;
}

}  // namespace

double Space::size() const {
  double size = 1;
  for (const Axis& axis : axes) size *= static_cast<double>(axis.values.size());
  return size;
}

Point Space::defaults() const {
  Point point;
  for (const Axis& axis : axes) point.push_back(axis.standard);
  return point;
}

Instance Space::instance(const Point& point) const {
  Instance instance{variant, {}};
  for (size_t i = 0; i < axes.size(); ++i)
    if (point[i] != axes[i].standard)
      instance.params[axes[i].name] = std::to_string(axes[i].values[point[i]]);
  return instance;
}

Point Space::nearest(const Instance& instance) const {
  Point point = defaults();
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto param = instance.params.find(axes[i].name);
    if (param == instance.params.end()) continue;
    const double value = std::strtod(param->second.c_str(), nullptr);
    const auto distance = [&](int other) { return std::abs(other - value); };
    point[i] = static_cast<size_t>(std::ranges::min_element(axes[i].values, {}, distance) -
                                   axes[i].values.begin());
  }
  return point;
}

Point Space::random(uint64_t seed, uint64_t draw) const {
  const Philox random(seed, rng_stream(Stream::kSampling, draw));
  Point point;
  for (size_t i = 0; i < axes.size(); ++i)
    point.push_back(random.below(i, static_cast<uint32_t>(axes[i].values.size())));
  return point;
}

std::vector<Point> Space::grid() const {
  std::vector<Point> points{defaults()};
  Point point(axes.size(), 0);
  for (;;) {
    if (point != points.front()) points.push_back(point);
    size_t i = 0;
    while (i < axes.size() && ++point[i] == axes[i].values.size()) point[i++] = 0;
    if (i == axes.size()) return points;
  }
}

std::vector<Point> Space::steps(const Point& from) const {
  std::vector<Point> to;
  for (size_t i = 0; i < axes.size(); ++i) {
    add_step(axes[i], from, i, 1, to);
    add_step(axes[i], from, i, -1, to);
    if (!axes[i].automatic(from[i])) continue;
    for (size_t index = 0; index < axes[i].values.size(); ++index)
      if (index != from[i]) {
        to.push_back(from);
        to.back()[i] = index;
      }
  }
  return to;
}

std::vector<Point> Space::trades(const Point& from) const {
  std::vector<Point> to;
  for (size_t up = 0; up < axes.size(); ++up) {
    std::vector<Point> raised;
    add_step(axes[up], from, up, 1, raised);
    for (const Point& point : raised)
      for (size_t down = 0; down < axes.size(); ++down)
        if (down != up) add_step(axes[down], point, down, -1, to);
  }
  return to;
}

}  // namespace mmrec::tune
