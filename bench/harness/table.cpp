#include "bench/harness/table.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <ranges>

#include "bench/harness/other_load.h"
#include "bench/harness/print.h"

namespace mmrec::bench {

namespace {

/// Ratios of times.
struct Ratios {
  void add(double ratio, const std::string& where) {
    logarithms += std::log(ratio);
    ++count;
    if (ratio < lowest) lowest = ratio, lowest_where = where;
  }
  double mean() const { return std::exp(logarithms / count); }

  double logarithms = 0, lowest = INFINITY;
  int count = 0;
  std::string lowest_where;
};

/// Ratios by name and pass, both in the order in which they come.
class RatioTable {
 public:
  void add(const std::string& name, const Workload& work, double ratio) {
    const std::string& pass = work.pass.registry;
    for (auto [known, one] : {std::pair(&passes_, &pass), std::pair(&names_, &name)})
      if (std::ranges::find(*known, *one) == known->end()) known->push_back(*one);
    for (const std::string& of : {kAll, pass})
      ratios_[name][of].add(ratio, fmt::format("{} {}", pass, fmt::join(work.sizes, "x")));
  }
  /// Prints nothing if the table is empty.
  void print(std::string_view what) const {
    if (names_.empty()) return;
    std::string head;
    for (const std::string& pass : passes_) head += fmt::format("{:>9}", pass);
    print_line("\n{}: geometric means, and the lowest of all shapes\n", what);
    print_line("{:<24}{:>8}{:>9}{}{:>9}  {}", "", "shapes", "mean", head, "lowest", "at");
    for (const std::string& name : names_) {
      const std::map<std::string, Ratios>& row = ratios_.at(name);
      const Ratios& all = row.at(kAll);
      std::string parts;
      for (const std::string& pass : passes_)
        parts += fmt::format("{:>9}", row.contains(pass) ? ratio_string(row.at(pass).mean()) : "");
      print_line("{:<24}{:>8}{:>9}{}{:>9}  {}", name, all.count, ratio_string(all.mean()), parts,
                 ratio_string(all.lowest), all.lowest_where);
    }
  }

 private:
  inline static const std::string kAll = "all passes";
  std::vector<std::string> passes_, names_;
  std::map<std::string, std::map<std::string, Ratios>> ratios_;  // by name and pass
};

/// Returns the index of the dispatched row of a group, or 0 if there is none.
size_t baseline(const std::vector<Result>& group) {
  const auto dispatched = std::ranges::find(group, true, &Result::dispatched);
  return dispatched == group.end() ? 0 : dispatched - group.begin();
}

/// Returns the origin of a kernel's schedule; "" if the row is not a kernel.
std::string schedule_string(const Result& result) {
  return result.level.empty() ? ""
                              : fmt::format("  [{}{}{}]", result.level,
                                            result.params.empty() ? "" : ": ", result.params);
}

}  // namespace

std::vector<std::vector<Case>> grouped(const std::vector<Case>& rows) {
  std::vector<std::vector<Case>> groups;
  for (const Case& row : rows) {
    const auto group = std::ranges::find_if(groups, [&](const std::vector<Case>& other) {
      return other.front().group() == row.group();
    });
    if (group != groups.end())
      group->push_back(row);
    else
      groups.push_back({row});
  }
  return groups;
}

std::string time_string(double seconds) {
  const auto [value, unit] = seconds < 1e-3 ? std::pair(1e6 * seconds, "us")
                             : seconds < 1  ? std::pair(1e3 * seconds, "ms")
                                            : std::pair(seconds, "s");
  return fmt::format("{:.{}f} {}", value, value < 10 ? 3 : value < 100 ? 2 : 1, unit);
}

std::string ratio_string(double ratio, int digits) {
  return fmt::format("{:.{}f}x", ratio, digits);
}

std::vector<double> speed_ups(const std::vector<Result>& group) {
  const double base = group[baseline(group)].timing.best;
  std::vector<double> ratios;
  for (const Result& result : group) ratios.push_back(base / result.timing.best);
  return ratios;
}

bool disturbed(const Groups& groups) {
  return std::ranges::any_of(
      groups, [](const std::vector<Result>& group) { return group.front().other_load > kQuiet; });
}

size_t winner(const std::vector<Result>& group) {
  return std::ranges::min_element(
             group, {},
             [](const Result& result) { return std::pair(result.row.limit, result.timing.best); }) -
         group.begin();
}

std::string marks(const std::vector<Result>& group, size_t row) {
  const Result& result = group[row];
  const bool several =
      std::ranges::count(group, false, [](const Result& other) { return other.row.limit; }) > 1;
  std::vector<const char*> words;
  if (several && row == winner(group)) words.push_back("fastest");
  if (several && result.dispatched) words.push_back("default");
  if (result.row.limit) words.push_back("limit");
  if (result.other_load > kQuiet) words.push_back("disturbed");
  return fmt::format("{}", fmt::join(words, " "));
}

Groups print_table(const std::vector<Case>& rows, const MachinePeak& peak,
                   const Measuring& measuring, bool schedules) {
  const bool trains =
      std::ranges::any_of(rows, [](const Case& row) { return row.work->tokens > 0; });
  print_line("{:<52}{:>11}{:>11}{:>16}{:>9}{:>15}", "", "best", "median", "best rate", "of peak",
             trains ? "best tokens/s" : "speed-up");
  Groups groups;
  std::string before;
  for (const std::vector<Case>& group : grouped(rows)) {
    const Workload& first = *group.front().work;
    const std::string kind = first.op + first.pass.registry;
    if (!before.empty() && kind != before) print_line("");
    before = kind;
    const std::vector<Result> results =
        time_in_turn(group, measuring.seconds, measuring.seed, measuring.caches);
    const std::vector<double> ratios = speed_ups(results);
    for (size_t i = 0; i < results.size(); ++i) {
      const Workload& work = *results[i].row.work;
      const Timing& timing = results[i].timing;
      const Rate rate(work, timing.best, peak.all_threads);
      const std::string last = trains ? fmt::format("{:.0f}", work.tokens / timing.best)
                               : results.size() > 1 ? ratio_string(ratios[i])
                                                    : "";
      const std::string words = marks(results, i);
      print_line("{:<52}{:>11}{:>11}{:>16}{:>7.0f} %{:>15}{}{}{}", results[i].row.name(),
                 time_string(timing.best), time_string(timing.median), rate.string(),
                 100 * rate.part_of_peak, last, words.empty() ? "" : "  ", words,
                 schedules ? schedule_string(results[i]) : "");
    }
    groups.push_back(results);
  }
  return groups;
}

Groups print_comparison(const std::vector<Case>& rows, const MachinePeak& peak,
                        const Measuring& measuring) {
  const Groups groups = print_table(rows, peak, measuring, true);
  print_rivals(groups);
  print_precisions(groups);
  // By variant: number of groups in which it is the fastest of the registry's variants, and number
  // of groups in which it is dispatched.
  std::map<std::string, std::pair<int, int>> wins;
  int compared = 0;
  for (const std::vector<Result>& group : groups) {
    std::vector<Result> ours;
    std::ranges::copy_if(group, std::back_inserter(ours),
                         [](const Result& result) { return result.row.registered; });
    if (ours.size() < 2) continue;
    ++compared;
    for (const Result& result : ours) {
      auto& [fastest, dispatched] = wins[result.row.variant_name()];
      fastest += &result == &ours[winner(ours)];
      dispatched += result.dispatched;
    }
  }
  print_line("");
  for (const auto& [variant, counts] : wins)
    print_line("{:<20}fastest of the project's in {} of {}, default in {}", variant, counts.first,
               compared, counts.second);
  print_line("{:<20}{}", "schedules from", kernel_schedule());
  return groups;
}

void print_rivals(const Groups& groups) {
  RatioTable table;
  for (const std::vector<Result>& group : groups) {
    const Result& ours = group[baseline(group)];
    for (const Result& result : group)
      if (!result.row.registered && !result.row.limit && ours.row.registered)
        table.add(result.row.variant_name(), *result.row.work,
                  result.timing.best / ours.timing.best);
  }
  table.print("Rivals' time over that of the default variant");
}

void print_precisions(const Groups& groups) {
  // A call that has no variants is a group of its own.
  const auto ours = [](const Result& result) {
    return result.row.registered || result.row.variant.empty();
  };
  RatioTable table;
  for (const std::vector<Result>& group : groups) {
    const Result& narrow = group[baseline(group)];
    const Workload& work = *narrow.row.work;
    if (work.precision == Precision::kFloat32 || !ours(narrow)) continue;
    const auto same = std::ranges::find(groups, narrow.row.group(Precision::kFloat32),
                                        [](const auto& other) { return other[0].row.group(); });
    if (same == groups.end()) continue;
    const Result& single = (*same)[baseline(*same)];
    if (ours(single))
      table.add(fmt::format("{} {}", work.op, dtype_of(work.precision)), work,
                single.timing.best / narrow.timing.best);
  }
  table.print("Float's time over that with bfloat16 factors or int8 weights, default variants");
}

}  // namespace mmrec::bench
