#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "generators/registry/instance.h"

namespace mmrec::registry {

using Warn = std::function<void(const std::string&)>;

/// A row of a schedule table: the instance that serves calls near a shape.
struct TableRow {
  Call call;
  std::string isa;  ///< ISA tier of the target, for example "avx512"
  int threads = 1;
  std::string cpu;
  Instance instance;
  double seconds = 0,
         /// Seconds per call, with the instance and with the defaults of the default variant.
      default_seconds = 0;
  std::string halide;  ///< version of Halide
  /// Fingerprint of the instance's lowered code (generators/program/lowering.h).
  std::string lowered;
  std::string date;

  /// Whether both rows have the same key: call, isa, threads and cpu. One then replaces the
  /// other.
  bool same_key(const TableRow& other) const;
  double speed_up() const { return default_seconds / seconds; }
};

/// The tuned schedules of a microarchitecture, stored in <vendor>_<uarch>.json. The file has one
/// row per line, sorted by operation, pass and sizes:
///   {"microarchitecture": "amd_zen4",
///    "rows": [{"op": "gemm", "pass": "nt", "dtype": "f32", "sizes": {"M": 512, ..},
///              "isa": "avx512", "threads": 2, "cpu": "amd_epyc_9r14",
///              "variant": "packed", "params": {"tile_rows": 6}, "seconds", "default_seconds",
///              "halide", "lowered", "date"}, ..]}
struct ScheduleTable {
  std::string microarchitecture;
  std::vector<TableRow> rows;
  /// Rows that cannot be parsed, as JSON. They are kept, at the end of the file.
  std::vector<std::string> unreadable = {};
};

/// Reads a table; returns an empty one if the file does not exist. Warns of each row that cannot be
/// parsed. Throws an Error if the file is not a table, so that no caller overwrites it. Rows of
/// earlier versions have no dtype (read as f32) and no fingerprint.
ScheduleTable read_schedule_table(const std::filesystem::path& path,
                                  const std::string& microarchitecture, const Warn& warn);
void write_schedule_table(const std::filesystem::path& path, ScheduleTable table);

/// Adds rows. A new row replaces the row with the same key.
void merge_rows(ScheduleTable& table, const std::vector<TableRow>& rows);

/// Formats a row as its line in a table.
std::string row_line(const TableRow& row);
/// Returns why the registry has no such kernel or no such sizes; "" if it has.
std::string why_unknown(const TableRow& row);
/// Returns why a generator with these parameters cannot make the instance; "" if it can. Removes
/// parameters that have their default value from the instance.
std::string why_wrong(Instance& instance, const std::vector<TunableParameter>& parameters);

}  // namespace mmrec::registry
