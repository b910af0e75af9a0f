#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bench/tune/instance.h"
#include "bench/tune/log.h"

namespace mmrec::tune {

/// A row of a schedule table: which instance serves calls near a shape.
struct Row {
  Call call;
  std::string isa;
  int threads = 1;
  std::string cpu;
  Instance instance;
  double seconds = 0, default_seconds = 0;  ///< as in a Verdict
  std::string halide, source, date;

  /// Whether it is about the same as another, which would replace it.
  bool same_key(const Row& other) const;
};

/// The tuned schedules of a microarchitecture, generators/schedules/<vendor>_<uarch>.json:
/// {"microarchitecture": "amd_zen4",
///  "rows": [{"op", "pass", "sizes": {"M": 512, ..}, "isa", "threads", "cpu", "variant", "params": {..}, "seconds",
///            "default_seconds", "halide", "source", "date"}, ..]}
/// in the order of operation, pass and sizes, a row a line.
struct ScheduleTable {
  std::string microarchitecture;
  std::vector<Row> rows;
  std::vector<std::string> unreadable = {};  ///< rows, in JSON, that are no Row; they are kept, at the end
};

/// $MMREC_SCHEDULE_DIR in its absolute normal form, in which builds are configured with it, or nothing.
std::filesystem::path user_schedule_folder();
/// The folder of tables and logs: the user's, or the project's.
std::filesystem::path schedule_folder();

/// An empty table where there is none. Throws an Error for a file that is no table: it must not be overwritten. Warns of each row that
/// cannot be read.
ScheduleTable read_schedule_table(const std::filesystem::path& path, const std::string& microarchitecture, const Log::Warn& warn);
void write_schedule_table(const std::filesystem::path& path, ScheduleTable table);

/// The rows that take the place of those with the same key, and the other rows.
void merge_rows(ScheduleTable& table, const std::vector<Row>& rows);

}  // namespace mmrec::tune
