#pragma once

#include <cmath>
#include <optional>

namespace mmrec {

/// The allowed range of a number. An absent bound does not limit.
struct Bounds {
  std::optional<double> at_least = {}, more_than = {}, at_most = {}, less_than = {};
};

/// NaN and infinity are never within bounds.
inline bool is_within(const Bounds& bounds, double value) {
  return std::isfinite(value) && value >= bounds.at_least.value_or(value) &&
         value <= bounds.at_most.value_or(value) &&
         !(value <= bounds.more_than.value_or(-INFINITY)) &&
         !(value >= bounds.less_than.value_or(INFINITY));
}

}  // namespace mmrec
