#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace mmrec {

/// Formats rows of cells. A column is as wide as its widest cell; the first column is left-aligned,
/// the others right-aligned. Columns that do not fit into `width` are dropped from the right. Cells
/// are shown as visible_in_line() does.
std::string text_table(std::vector<std::vector<std::string>> rows, size_t width);

}  // namespace mmrec
