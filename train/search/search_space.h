#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mmrec {

/// Names of settings and their values as text, in the order that they were asked for.
using Settings = std::vector<std::pair<std::string, std::string>>;

/// `--grid lr=1e-4,3e-4`.
struct GridAxis {
  std::string name;
  std::vector<std::string> values;
};

/// `--range lr=1e-5:1e-3:log`.
struct RangeAxis {
  std::string name;
  double low, high;
  bool logarithmic;
  bool whole;  ///< only whole numbers
};

// Throw a UsageError for what cannot be understood.
GridAxis parse_grid(std::string_view text);
RangeAxis parse_range(std::string_view text);

/// What a search tries.
struct SearchSpace {
  std::vector<GridAxis> grids;
  std::vector<RangeAxis> ranges;

  /// Throws a UsageError where a name occurs twice.
  void check() const;
  /// Every combination of the grids; the last varies fastest.
  std::vector<Settings> combinations() const;
  /// One of each grid's values and a number of each range, drawn. A function of the seed and the index: more draws begin with
  /// the same.
  Settings draw(uint64_t seed, uint64_t index) const;
};

/// "lr=0.003 batch=4".
std::string describe(const Settings& settings);

}  // namespace mmrec
