#include "support/text_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <string_view>

#include "support/names.h"

namespace mmrec {

namespace {

/// Returns the text with each `character` replaced.
std::string replaced(std::string_view text, char character, std::string_view by) {
  std::string result;
  for (const char c : text) c == character ? result += by : result += c;
  return result;
}

std::string csv_cell(const std::string& cell) {
  if (cell.find_first_of(",\"\r\n") == cell.npos) return cell;
  return fmt::format("\"{}\"", replaced(cell, '"', "\"\""));
}

std::string markdown_cell(const std::string& cell) {
  return fmt::format(" {} |", replaced(visible_in_line(cell), '|', "\\|"));
}

/// Formats each row: its cells by `cell`, as many as the header has.
template <class Cell>
std::string lines(const TableRows& rows, std::string_view begin, std::string_view between,
                  const Cell& cell) {
  std::string text;
  for (std::vector<std::string> row : rows) {
    row.resize(rows.front().size());
    text += begin;
    for (size_t i = 0; i < row.size(); ++i)
      text += fmt::format("{}{}", i == 0 ? "" : between, cell(row[i]));
    text += '\n';
  }
  return text;
}

}  // namespace

std::string markdown_table(const TableRows& rows) {
  std::string rule = "|";
  for (size_t i = 0; i < rows.front().size(); ++i) rule += i == 0 ? "---|" : "---:|";
  std::string text = lines(rows, "|", "", markdown_cell);
  return text.insert(text.find('\n') + 1, rule + "\n");
}

std::string csv_table(const TableRows& rows) { return lines(rows, "", ",", csv_cell); }

std::string text_table(TableRows rows, size_t width) {
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
