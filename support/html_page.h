#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace mmrec {

/// Text for an element or a quoted attribute, as visible() shows it.
std::string html_escaped(std::string_view text);

/// A page that needs nothing else, light or dark as the reader's system is. Its colours are the variables --paper, --ink,
/// --soft, --line and --c0 .. --c7 for series; plots come as a `svg.plot.wide` and a `svg.plot.narrow`, of which the one for
/// the window's width is shown; `.legend`, `.scroll`, tables and lists of `dl` are styled. `style` is CSS after that.
std::string html_page(std::string_view title, std::string_view style, std::string_view body);
constexpr int kHtmlColours = 8;

/// Throws a UsageError where a file is there that is no such page: a mistyped name must not cost it.
void check_is_page(const std::filesystem::path& file);

}  // namespace mmrec
