#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace mmrec {

/// Rows of cells in columns as wide as their widest, the first column to the left, the others to the right. Where they do not
/// fit into `width`, the last columns are left out. What a cell holds is shown as visible_in_line() does.
std::string text_table(std::vector<std::vector<std::string>> rows, size_t width);

}  // namespace mmrec
