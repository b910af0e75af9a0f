#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace mmrec {

/// Escapes a text for an element or a quoted attribute; control characters are shown as visible()
/// does.
std::string html_escaped(std::string_view text);

/// Returns a self-contained page in the reader's light or dark mode. CSS variables: --paper, --ink,
/// --soft, --line, and --c0 .. --c7 for series. Plots come in two versions, `svg.plot.wide` and
/// `svg.plot.narrow`; the window's width decides which one is shown. `.legend`, `.scroll`, tables
/// and `dl` lists have styles. `style` is additional CSS.
/// `refresh`: seconds after which a browser loads the page again; 0: it does not.
std::string html_page(std::string_view title, std::string_view style, std::string_view body,
                      int refresh = 0);
constexpr int kHtmlColours = 8;

/// Throws a UsageError if the file exists and is not such a page: a mistyped name must not destroy
/// it.
void check_is_page(const std::filesystem::path& file);

}  // namespace mmrec
