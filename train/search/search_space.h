#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "train/search/settings.h"

namespace mmrec {

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
  bool whole;  ///< whole numbers only
};

// Both throw a UsageError for invalid text.
GridAxis parse_grid(std::string_view text);
RangeAxis parse_range(std::string_view text);

/// The settings that a search tries.
struct SearchSpace {
  std::vector<GridAxis> grids;
  std::vector<RangeAxis> ranges;

  /// Throws a UsageError if a name occurs twice.
  void check() const;
  /// Returns every combination of the grids; the last grid varies fastest.
  std::vector<Settings> combinations() const;
  /// Draws one value of each grid and a number of each range. Depends only on seed and index: a
  /// larger number of draws begins with the same draws.
  Settings draw(uint64_t seed, uint64_t index) const;
};

}  // namespace mmrec
