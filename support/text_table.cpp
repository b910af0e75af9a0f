#include "support/text_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "support/names.h"

namespace mmrec {

std::string text_table(std::vector<std::vector<std::string>> rows, size_t width) {
  std::vector<size_t> widths(rows.front().size());
  for (std::vector<std::string>& row : rows)
    for (size_t i = 0; i < row.size(); ++i) {
      row[i] = visible_in_line(row[i]);
      widths[i] = std::max(widths[i], row[i].size());
    }
  const auto needed = [&] {
    return std::accumulate(widths.begin(), widths.end(), 2 * (widths.size() - 1));
  };
  while (widths.size() > 1 && needed() > width) widths.pop_back();
  std::string text;
  for (std::vector<std::string>& row : rows) {
    row.resize(widths.size());
    for (size_t i = 0; i < row.size(); ++i)
      text += i == 0 ? fmt::format("{:<{}}", row[i], widths[i])
                     : fmt::format("  {:>{}}", row[i], widths[i]);
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
  }
  return text;
}

}  // namespace mmrec
