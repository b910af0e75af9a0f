#include "support/did_you_mean.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <numeric>

namespace mmrec {
namespace {

/// Insertions, deletions, replacements, and swaps of neighbours.
size_t edit_distance(std::string_view a, std::string_view b) {
  // rows[i][j]: distance of the first i characters of a to the first j of b
  std::vector<std::vector<size_t>> rows(a.size() + 1, std::vector<size_t>(b.size() + 1));
  std::iota(rows[0].begin(), rows[0].end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    rows[i][0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = rows[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      rows[i][j] = std::min({replaced, rows[i - 1][j] + 1, rows[i][j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        rows[i][j] = std::min(rows[i][j], rows[i - 2][j - 2] + 1);
    }
  }
  return rows[a.size()][b.size()];
}

/// Whether one may be a mistyped other: more than half of the letters are the same.
bool is_near(std::string_view a, std::string_view b) {
  const auto word = [](std::string_view name) {
    return name.substr(std::min(name.find_first_not_of('-'), name.size()));
  };
  return 2 * edit_distance(word(a), word(b)) < std::max(word(a).size(), word(b).size());
}

}  // namespace

std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates) {
  // what is called so and more, else the nearest
  std::vector<std::string> meant;
  std::ranges::copy_if(candidates, std::back_inserter(meant), [&](const std::string& candidate) {
    return !name.empty() && candidate.starts_with(name);
  });
  const auto nearest = std::ranges::min_element(
      candidates, {}, [&](const std::string& candidate) { return edit_distance(name, candidate); });
  if (meant.empty() && nearest != candidates.end() && is_near(name, *nearest)) meant = {*nearest};
  return meant.empty() ? "" : fmt::format("; did you mean {}?", fmt::join(meant, " or "));
}

}  // namespace mmrec
