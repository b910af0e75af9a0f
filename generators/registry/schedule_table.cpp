#include "generators/registry/schedule_table.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "generators/registry/registry.h"
#include "support/atomic_file.h"
#include "support/error.h"
#include "support/exceptions.h"
#include "support/parse_number.h"
#include "support/strict_json.h"

namespace mmrec::registry {

namespace {

auto key(const TableRow& row) { return std::tie(row.call, row.isa, row.threads, row.cpu); }

/// Rounds to four digits. More digits are noise, and would make every line of a diff differ.
double rounded(double seconds) {
  return parse_number<double>(fmt::format("{:.4g}", seconds)).value_or(seconds);
}

TableRow row_from(const nlohmann::json& line) {
  TableRow row{.call = {line.at("op"), line.at("pass"), sizes_from_json(line.at("sizes")),
                        line.value("dtype", kFloat32)},
               .isa = line.at("isa"),
               .threads = count_from_json(line.at("threads")),
               .cpu = line.at("cpu"),
               .instance = {line.at("variant"), params_from_json(line.at("params"))},
               .seconds = seconds_from_json(line.at("seconds")),
               .default_seconds = seconds_from_json(line.at("default_seconds")),
               .halide = line.at("halide"),
               .lowered = line.value("lowered", ""),
               .date = line.at("date")};
  if (const std::string wrong = wrong_sizes(row.call); !wrong.empty()) fail("{}", wrong);
  return row;
}

}  // namespace

std::string row_line(const TableRow& row) {
  nlohmann::ordered_json line;
  line["op"] = row.call.op;
  line["pass"] = row.call.pass;
  line["dtype"] = row.call.dtype;
  line["sizes"] = row.call.sizes;
  line["isa"] = row.isa;
  line["threads"] = row.threads;
  line["cpu"] = row.cpu;
  line["variant"] = row.instance.variant;
  line["params"] = params_json(row.instance.params);
  line["seconds"] = rounded(row.seconds);
  line["default_seconds"] = rounded(row.default_seconds);
  line["halide"] = row.halide;
  line["lowered"] = row.lowered;
  line["date"] = row.date;
  return line.dump();
}

bool TableRow::same_key(const TableRow& other) const { return key(*this) == key(other); }

ScheduleTable read_schedule_table(const std::filesystem::path& path,
                                  const std::string& microarchitecture, const Warn& warn) {
  ScheduleTable table{microarchitecture, {}};
  if (!std::filesystem::exists(path)) return table;
  nlohmann::json json;
  try {
    json = parse_json(read_file(path), path.string());
    if (!json.at("rows").is_array()) fail("{}: rows is no array", path.string());
  } catch (const std::exception& error) {
    fail("{} is no table of schedules; mend it, or move it away: {}", path.string(),
         in_words(error));
  }
  for (const nlohmann::json& row : json.at("rows")) try {
      table.rows.push_back(row_from(row));
    } catch (const std::exception& error) {
      table.unreadable.push_back(row.dump());
      warn(fmt::format("{}: a row cannot be read and is left as it is, {}: {}", path.string(),
                       in_words(error), table.unreadable.back()));
    }
  return table;
}

void write_schedule_table(const std::filesystem::path& path, ScheduleTable table) {
  std::ranges::sort(table.rows,
                    [](const TableRow& a, const TableRow& b) { return key(a) < key(b); });
  const std::string text = fmt::format("{{\"microarchitecture\": {},\n \"rows\": [",
                                       nlohmann::json(table.microarchitecture).dump());
  std::vector<std::string> lines;
  for (const TableRow& row : table.rows) lines.push_back(row_line(row));
  lines.insert(lines.end(), table.unreadable.begin(), table.unreadable.end());
  write_file_atomically(path, fmt::format("{}\n  {}\n ]}}\n", text, fmt::join(lines, ",\n  ")));
}

void merge_rows(ScheduleTable& table, const std::vector<TableRow>& rows) {
  for (const TableRow& row : rows) {
    std::erase_if(table.rows, [&](const TableRow& other) { return other.same_key(row); });
    table.rows.push_back(row);
  }
}

std::string why_unknown(const TableRow& row) {
  const Operation* operation = find_operation(row.call.op);
  if (!operation ||
      std::ranges::find(operation->passes, row.call.pass) == operation->passes.end() ||
      !find_variant(row.call.op, row.instance.variant, row.call.dtype))
    return fmt::format("the registry has no kernel '{} {} {} {}'", row.call.op, row.call.pass,
                       row.instance.variant, row.call.dtype);
  return wrong_sizes(row.call);
}

std::string why_wrong(Instance& instance, const std::vector<TunableParameter>& parameters) {
  for (auto param = instance.params.begin(); param != instance.params.end();) {
    const auto& [name, text] = *param;
    const auto known = std::ranges::find(parameters, name, &TunableParameter::name);
    if (known == parameters.end()) return fmt::format("the generator has no parameter '{}'", name);
    const std::optional<int> value = parse_number<int>(text);
    if (!value || std::ranges::find(known->values, *value) == known->values.end())
      return fmt::format("{} is none of {}", name, fmt::join(known->values, ", "));
    param = *value == known->standard ? instance.params.erase(param) : std::next(param);
  }
  return "";
}

}  // namespace mmrec::registry
