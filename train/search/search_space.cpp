#include "train/search/search_space.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "runtime/rng.h"
#include "support/error.h"
#include "support/parse_number.h"
#include "support/same_bits_math.h"

namespace mmrec {

namespace {

std::vector<std::string> parts_of(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

/// Splits at the first "=". Returns the name (without "--") and the rest.
std::pair<std::string, std::string_view> split_name(std::string_view text, const char* option,
                                                    const char* example) {
  const size_t equals = text.find('=');
  std::string_view name = text.substr(0, equals);
  if (name.starts_with("--")) name.remove_prefix(2);
  if (equals == text.npos || name.empty()) fail_usage("{} {}: expected {}", option, text, example);
  return {std::string(name), text.substr(equals + 1)};
}

// a double represents every whole number up to this
constexpr int64_t kLargestDrawn = int64_t{1} << 53;

/// Returns whether a number's text has only digits, with or without a minus sign.
bool is_whole(std::string_view number) {
  return number.find_first_not_of("0123456789", number.starts_with('-') ? 1 : 0) == number.npos;
}

/// Normalises texts of the same number: "1", "01" and "1.0" give the same text.
std::string number_or_text(const std::string& text) {
  if (const auto whole = parse_number<uint64_t>(text)) return fmt::format("{}", *whole);
  // avoids -0
  if (const auto number = parse_number<double>(text)) return fmt::format("{}", *number + 0.0);
  return text;
}

}  // namespace

GridAxis parse_grid(std::string_view text) {
  constexpr const char* kExample = "name=value,value,.., for example lr=1e-3,3e-3";
  const auto [name, values] = split_name(text, "--grid", kExample);
  GridAxis axis{name, parts_of(values, ',')};
  if (std::ranges::find(axis.values, "") != axis.values.end())
    fail_usage("--grid {}: a value is missing; expected {}", text, kExample);
  const bool names_files = name == "data" || name == "init" || name == "config";
  std::set<std::string> different;
  for (const std::string& value : axis.values)
    if (!different.insert(names_files ? value : number_or_text(value)).second)
      fail_usage("--grid {}: {} occurs twice", text, value);
  return axis;
}

RangeAxis parse_range(std::string_view text) {
  constexpr const char* kExample =
      "name=low:high, also with :linear or :log behind, for example lr=1e-5:1e-3:log";
  const auto [name, values] = split_name(text, "--range", kExample);
  const std::vector<std::string> parts = parts_of(values, ':');
  if (parts.size() < 2 || parts.size() > 3 ||
      (parts.size() == 3 && parts[2] != "log" && parts[2] != "linear"))
    fail_usage("--range {}: expected {}", text, kExample);
  const std::optional<double> low = parse_number<double>(parts[0]),
                              high = parse_number<double>(parts[1]);
  if (!low || !high || !std::isfinite(*low) || !std::isfinite(*high))
    fail_usage("--range {}: the ends must be numbers; expected {}", text, kExample);
  if (!(*low < *high)) fail_usage("--range {}: {} is not below {}", text, parts[0], parts[1]);
  const bool logarithmic = parts.size() == 3 && parts[2] == "log";
  if (logarithmic && *low <= 0) fail_usage("--range {}: a logarithmic range begins above 0", text);
  const bool whole = is_whole(parts[0]) && is_whole(parts[1]);
  if (whole && std::max(-*low, *high) > static_cast<double>(kLargestDrawn))
    fail_usage("--range {}: whole numbers are drawn from {} to {}", text, -kLargestDrawn,
               kLargestDrawn);
  return {name, *low, *high, logarithmic, whole};
}

void SearchSpace::check() const {
  std::set<std::string> names;
  const auto add = [&](const std::string& name) {
    if (!names.insert(name).second)
      fail_usage("{} is given twice; give each setting one --grid or --range", name);
  };
  for (const GridAxis& grid : grids) add(grid.name);
  for (const RangeAxis& range : ranges) add(range.name);
}

std::vector<Settings> SearchSpace::combinations() const {
  constexpr size_t kMost = 100'000;
  std::vector<Settings> all = {{}};
  for (const GridAxis& grid : grids) {
    std::vector<Settings> longer;
    if (all.size() * grid.values.size() > kMost)
      fail_usage("the grids have more than {} combinations; --random N draws some of them", kMost);
    for (const Settings& settings : all)
      for (const std::string& value : grid.values) {
        longer.push_back(settings);
        longer.back().emplace_back(grid.name, value);
      }
    all = std::move(longer);
  }
  return all;
}

Settings SearchSpace::draw(uint64_t seed, uint64_t index) const {
  const Philox random(seed, rng_stream(Stream::kSearch, index));
  uint64_t draws = 0;
  Settings settings;
  for (const GridAxis& grid : grids)
    settings.emplace_back(
        grid.name, grid.values[random.below(draws++, static_cast<uint32_t>(grid.values.size()))]);
  for (const RangeAxis& range : ranges) {
    const double u = random.uniform(draws++);
    // Each whole number low .. high owns the interval from 0.5 below to 0.5 above it.
    const double low = range.whole ? range.low - 0.5 : range.low,
                 high = range.whole ? range.high + 0.5 : range.high;
    double value =
        range.logarithmic ? low * same_bits::power(high / low, u) : low + u * (high - low);
    // avoids -0
    if (range.whole) value = std::clamp(std::round(value), range.low, range.high) + 0.0;
    settings.emplace_back(
        range.name, range.whole ? fmt::format("{:.0f}", value) : fmt::format("{:.4g}", value));
  }
  return settings;
}

}  // namespace mmrec
