#include "generators/registry/build_description.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "support/atomic_file.h"
#include "support/error.h"

namespace mmrec::registry {

namespace {

enum class Level { kCpu, kMicroarchitecture, kTier };

}  // namespace

BuildDescription read_build_description(const std::filesystem::path& path) {
  BuildDescription build;
  const std::map<std::string, std::string*> fields = {
      {"target", &build.target},
      {"halide", &build.halide},
      {"isa", &build.isa},
      {"cpu", &build.cpu},
      {"microarchitecture", &build.microarchitecture}};
  std::istringstream lines(read_file(path));
  for (std::string line; std::getline(lines, line);) {
    const size_t space = std::min(line.find(' '), line.size());
    const std::string name = line.substr(0, space),
                      value = line.substr(std::min(space + 1, line.size()));
    if (const auto field = fields.find(name); field != fields.end())
      *field->second = value;
    else if (name == "table" || name == "only_table") {
      build.tables.push_back(value);
      build.only_table |= name == "only_table";
    } else if (name == "software_bf16")
      build.software_bf16 = true;
    else
      fail("{}: no field of a build is called '{}'", path.string(), name);
  }
  for (const auto& [name, value] : fields)
    if (value->empty()) fail("{}: it has no {}", path.string(), name);
  return build;
}

std::vector<UsedRow> used_rows(const BuildDescription& build,
                               const std::vector<ScheduleTable>& tables, const std::string& op,
                               const std::string& pass, const std::string& dtype, int threads) {
  std::vector<UsedRow> used;
  Level best = Level::kTier;
  for (const ScheduleTable& table : tables) {
    size_t first_of_table = used.size();
    for (const TableRow& row : table.rows) {
      if (row.call.op != op || row.call.pass != pass || row.call.dtype != dtype ||
          row.isa != build.isa)
        continue;
      const bool ours = build.only_table || table.microarchitecture == build.microarchitecture;
      const Level level = !ours                  ? Level::kTier
                          : row.cpu == build.cpu ? Level::kCpu
                                                 : Level::kMicroarchitecture;
      const std::string name =
          build.only_table       ? "table " + table.microarchitecture
          : level == Level::kCpu ? "cpu " + row.cpu
          : level == Level::kTier
              ? fmt::format("ISA tier {} (from {})", build.isa, table.microarchitecture)
              : "microarchitecture " + table.microarchitecture;
      const Level served = build.only_table ? Level::kTier : level;
      if (served > best || (!used.empty() && served == best && used.front().level != name))
        continue;
      if (served < best) {
        used.clear();
        first_of_table = 0;
        best = served;
      }
      const auto same = std::ranges::find_if(
          used, [&](const UsedRow& other) { return other.row.call.sizes == row.call.sizes; });
      if (same == used.end())
        used.push_back({row, name});
      else if (same - used.begin() >= static_cast<std::ptrdiff_t>(first_of_table) &&
               same->row.threads != threads && row.threads == threads)
        *same = {row, name};
    }
  }
  return used;
}

std::set<std::string> own_rows(const BuildDescription& build,
                               const std::vector<ScheduleTable>& tables) {
  std::set<std::string> own;
  if (build.microarchitecture == kAnyMicroarchitecture && !build.only_table)
    for (const ScheduleTable& table : tables)
      if (std::ranges::find(table.rows, build.isa, &TableRow::isa) != table.rows.end())
        own.insert(table.microarchitecture);
  return own;
}

}  // namespace mmrec::registry
