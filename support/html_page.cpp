#include "support/html_page.h"

#include <fmt/format.h>

#include "support/atomic_file.h"
#include "support/error.h"
#include "support/names.h"

namespace mmrec {

namespace {

constexpr std::string_view kPageBegin = "<!DOCTYPE html>\n";
constexpr std::string_view kColours = ":root { color-scheme: light dark; --paper:";
constexpr std::string_view kStyle = R"(
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2330; --soft: #667085; --line: #e4e7ec;
  --bar: #d5e3fb; --c0: #1f6feb; --c1: #d9480f; --c2: #2b8a3e; --c3: #9c36b5; --c4: #c2255c;
  --c5: #0c8599; --c6: #a06700; --c7: #5f6b7a; }
@media (prefers-color-scheme: dark) { :root { --paper: #12161d; --ink: #e6eaf0; --soft: #97a1b1;
  --line: #2a313c; --bar: #1d3a63; --c0: #6ea8fe; --c1: #ff922b; --c2: #69db7c; --c3: #da8cf2;
  --c4: #ff8fb1; --c5: #4fd3e6; --c6: #ffd43b; --c7: #adb5bd; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px 20px 60px; max-width: 1080px; background: var(--paper);
  color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 22px; margin: 0 0 4px; }
p { margin: 0 0 16px; color: var(--soft); max-width: 75ch; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 0 0 20px;
  font-size: 13px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
svg { display: block; } svg.plot { width: 100%; height: auto; }
svg.narrow { display: none; }
@media (max-width: 640px) { svg.wide { display: none; } svg.narrow { display: block; }
  body { padding: 16px 12px 40px; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 6px; } }
.plot text { font-size: 12px; fill: var(--soft); }
.plot .grid { stroke: var(--line); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; margin: 10px 0 28px;
  padding: 0; font-size: 13px; }
.legend li { display: flex; align-items: center; gap: 6px; cursor: default; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px;
  font-variant-numeric: tabular-nums; }
th, td { padding: 3px 10px; text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 500; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tbody { border-top: 1px solid var(--line); }
)";

}  // namespace

std::string html_escaped(std::string_view text) {
  std::string result;
  for (const char c : visible(text)) {
    if (c == '&')
      result += "&amp;";
    else if (c == '<')
      result += "&lt;";
    else if (c == '\'')
      result += "&#39;";
    else if (c == '"')
      result += "&quot;";
    else
      result += c;
  }
  return result;
}

std::string html_page(std::string_view title, std::string_view style, std::string_view body,
                      int refresh) {
  const std::string again =
      refresh > 0 ? fmt::format("<meta http-equiv=\"refresh\" content=\"{}\">", refresh) : "";
  return fmt::format(
      "{}<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width, initial-scale=1\">"
      "{}<title>{}</title><style>{}{}</style></head><body>\n{}</body></html>\n",
      kPageBegin, again, html_escaped(title), kStyle, style, body);
}

void check_is_page(const std::filesystem::path& file) {
  if (!exists(PathAt(file))) return;
  const std::string content = read_file(file);
  if (!content.empty() &&
      !(content.starts_with(kPageBegin) && content.find(kColours) != content.npos))
    fail_usage("--html {}: it is a file of another kind; choose another name or remove it first",
               file.string());
}

}  // namespace mmrec
