#include "train/profile_table.h"

#include <fmt/format.h>

#include "runtime/profile.h"

namespace mmrec {

std::string profile_table(double seconds) {
  std::string table = fmt::format("{:<30}{:>10}{:>12}{:>12}{:>10}{:>9}\n", "operation (variant)", "calls", "ms", "us a call", "GFLOP/s", "share");
  double known = 0, flops = 0;
  for (const ProfileRow& row : profile_rows()) {
    table += fmt::format("{:<30}{:>10}{:>12.1f}{:>12.1f}{:>10.1f}{:>8.1f}%\n", fmt::format("{}.{} ({})", row.op, row.pass, row.variant), row.calls,
                         1e3 * row.seconds, 1e6 * row.seconds / static_cast<double>(row.calls), row.flops / row.seconds / 1e9,
                         100 * row.seconds / seconds);
    known += row.seconds;
    flops += row.flops;
  }
  table += fmt::format("{:<30}{:>10}{:>12.1f}{:>12}{:>10}{:>8.1f}%\n", "everything else", "", 1e3 * (seconds - known), "", "",
                       100 * (1 - known / seconds));
  table += fmt::format("{:<30}{:>10}{:>12.1f}{:>12}{:>10.1f}{:>8.1f}%", "all", "", 1e3 * seconds, "", flops / seconds / 1e9, 100.);
  return table;
}

}  // namespace mmrec
