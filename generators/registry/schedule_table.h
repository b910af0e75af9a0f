#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "generators/registry/instance.h"

namespace mmrec::registry {

using Warn = std::function<void(const std::string&)>;

/// A row of a schedule table: which instance serves calls near a shape.
struct Row {
  Call call;
  std::string dtype;  ///< of the arrays' elements: "f32"
  std::string isa;    ///< tier of the target: "avx512"
  int threads = 1;
  std::string cpu;
  Instance instance;
  double seconds = 0,
         default_seconds =
             0;  ///< of a call with the instance, and with the default variant with its defaults
  std::string halide;   ///< version
  std::string lowered;  ///< fingerprint of the instance's code as Halide lowered it
                        ///< (generators/program/lowering.h)
  std::string date;

  /// Whether it is about the same as another, which would replace it.
  bool same_key(const Row& other) const;
};

/// The tuned schedules of a microarchitecture, <vendor>_<uarch>.json, a row a line, in the order of
/// operation, pass and sizes:
///   {"microarchitecture": "amd_zen4",
///    "rows": [{"op": "gemm", "pass": "nt", "dtype": "f32", "sizes": {"M": 512, ..}, "isa":
///    "avx512", "threads": 2, "cpu": "amd_epyc_9r14",
///              "variant": "packed", "params": {"tile_rows": 6}, "seconds", "default_seconds",
///              "halide", "lowered", "date"}, ..]}
struct ScheduleTable {
  std::string microarchitecture;
  std::vector<Row> rows;
  std::vector<std::string> unreadable =
      {};  ///< rows, in JSON, that are no Row; they are kept, at the end
};

/// An empty table where there is none. Throws an Error for a file that is no table: it must not be
/// overwritten. Warns of each row that cannot be read. A row of earlier versions has no dtype,
/// which is f32, and no fingerprint.
ScheduleTable read_schedule_table(const std::filesystem::path& path,
                                  const std::string& microarchitecture, const Warn& warn);
void write_schedule_table(const std::filesystem::path& path, ScheduleTable table);

/// The rows that take the place of those with the same key, and the other rows.
void merge_rows(ScheduleTable& table, const std::vector<Row>& rows);

/// A row as its line in a table.
std::string row_line(const Row& row);
/// Why the registry has no such kernel, or none of these sizes; "" where it has.
std::string why_unknown(const Row& row);
/// Why an instance cannot be made by a generator with these parameters; "" where it can. Takes out
/// what is the default.
std::string why_wrong(Instance& instance, const std::vector<Parameter>& parameters);

}  // namespace mmrec::registry
