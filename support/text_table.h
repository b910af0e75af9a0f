#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace mmrec {

/// Rows of cells, the header first. A row may be shorter than the header: empty cells follow.
using TableRows = std::vector<std::vector<std::string>>;

/// Formats rows of cells. A column is as wide as its widest cell; the first column is left-aligned,
/// the others right-aligned. Columns that do not fit into `width` are dropped from the right. Cells
/// are shown as visible_in_line() does.
std::string text_table(TableRows rows, size_t width);

/// Formats the rows as a table of Markdown.
std::string markdown_table(const TableRows& rows);
/// Formats the rows as CSV (RFC 4180, lines end with "\n").
std::string csv_table(const TableRows& rows);

}  // namespace mmrec
