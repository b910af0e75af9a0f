#include "runtime/profile_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "runtime/profile.h"

namespace mmrec {

std::string profile_table(double seconds) {
  std::string table = fmt::format("{:<38}{:>10}{:>12}{:>12}{:>10}{:>9}\n", "operation (variant)",
                                  "calls", "ms", "us a call", "GFLOP/s", "share");
  // Sums over all shapes.
  struct KernelSum {
    std::string name;
    int64_t calls = 0;
    double seconds = 0, call_seconds = 0, flops = 0;
  };
  std::vector<KernelSum> kernels;
  for (const ProfileRow& row : profile_rows()) {
    const std::string name = kernel_label(row.op, row.pass, row.dtype, row.variant);
    auto kernel = std::ranges::find(kernels, name, &KernelSum::name);
    if (kernel == kernels.end()) kernel = kernels.insert(kernels.end(), {name});
    kernel->calls += row.calls;
    kernel->seconds += row.seconds;
    kernel->call_seconds += row.call_seconds;
    kernel->flops += row.flops;
  }
  std::ranges::sort(kernels, std::ranges::greater(), &KernelSum::seconds);
  double known = 0, calls = 0, flops = 0;
  for (const KernelSum& kernel : kernels) {
    table += fmt::format("{:<38}{:>10}{:>12.1f}{:>12.1f}{:>10.1f}{:>8.1f}%\n", kernel.name,
                         kernel.calls, 1e3 * kernel.seconds,
                         1e6 * kernel.call_seconds / static_cast<double>(kernel.calls),
                         kernel.flops / kernel.seconds / 1e9, 100 * kernel.seconds / seconds);
    known += kernel.seconds;
    calls += kernel.call_seconds;
    flops += kernel.flops;
  }
  table += fmt::format("{:<38}{:>10}{:>12.1f}{:>12}{:>10}{:>8.1f}%\n", "everything else", "",
                       1e3 * (seconds - known), "", "", 100 * (1 - known / seconds));
  table += fmt::format("{:<38}{:>10}{:>12.1f}{:>12}{:>10.1f}{:>8.1f}%", "all", "", 1e3 * seconds,
                       "", flops / seconds / 1e9, 100.);
  if (calls > 1.001 * known)
    table += fmt::format(
        "\ncalls on several threads overlap by {:.1f} ms; ms, GFLOP/s and share divide such time "
        "among them",
        1e3 * (calls - known));
  return table;
}

}  // namespace mmrec
