#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bench/harness/race.h"
#include "generators/registry/schedule_table.h"
#include "support/file_descriptor.h"

namespace mmrec::tune {

using namespace registry;  // for Call, Instance and TableRow
using namespace bench;     // for Timing and the races

/// The conditions that times depend on, other than the kernel.
struct Machine {
  std::string cpu, microarchitecture;  ///< see runtime/cpu_info.h: amd_epyc_9r14, amd_zen4
  std::string isa;                     ///< ISA tier of the kernels' target: avx512
  std::string target, halide;
  int threads = 1;

  /// Returns this machine, with the kernels' target and the current number of threads.
  static Machine current();
};

/// The result of trying a candidate.
enum class Status {
  kOk,       ///< timed to the end of a race
  kDropped,  ///< timed, and dropped from the race early: far behind
  kWrong,    ///< its results differ from the trusted kernel's, or between calls
  kRefused,  ///< the generator or Halide refused its parameters
  /// Could not be made this time: compiler crash, no memory, full disk.
  kFailed,
  kSlowCompile,  ///< exceeded the time limit for compiling and checking
};
std::string status_name(Status status);
/// Inverse of status_name(). Throws an Error for an unknown name.
Status status_from_name(const std::string& name);

/// One line of the log: a verdict on a candidate, for one shape if it was timed.
struct Verdict {
  std::string time;  ///< UTC: "2026-11-21T20:15:00Z"
  Machine machine;
  Call call;  ///< without sizes if the verdict holds for all sizes
  Instance instance;
  std::string code;          ///< fingerprint of the variant with the generator's defaults
  std::string lowered = {};  ///< fingerprint of the instance; empty if it was not lowered
  Status status = Status::kOk;
  std::string race = {};    ///< name of the race, shared by all its contestants
  Timing seconds = {};      ///< zeros if it was not timed
  Instance incumbent = {};  ///< the instance to beat
  /// The incumbent's time: seconds.median divided by the median ratio of samples from the same
  /// rounds.
  double incumbent_seconds = 0;
  /// The same for the default variant with the generator's defaults.
  double default_seconds = 0;
  /// For a duel of a challenger against the incumbent: whether the challenger won. Empty for other
  /// races.
  std::optional<bool> wins = {};
  std::string message = {};  ///< why it is wrong or failed

  /// Time relative to the generator's defaults in the same race. Comparable between races, since
  /// both times share the machine's state.
  double score() const { return seconds.median / default_seconds; }
  bool timed() const { return status == Status::kOk || status == Status::kDropped; }
  /// Whether the instance is never tried again. Other failures may come from a busy machine.
  bool bars() const { return status == Status::kWrong || status == Status::kRefused; }
};

/// Returns times as the log has them: {"best": .., "median": .., "mad": ..}.
nlohmann::json seconds_json(const Timing& seconds);

/// Returns a function that prints each warning once, on standard error.
std::function<void(const std::string&)> warn_once();

/// Formats the current time, or a file time, as in Verdict::time.
std::string utc_time();
std::string utc_time(std::filesystem::file_time_type time);

/// The append-only log of a machine, in JSON lines. Several tuners may have it open at once.
class Log {
 public:
  /// Opens or creates the file and reads it. Throws an Error if that fails.
  Log(std::filesystem::path path, Warn warn);

  const std::filesystem::path& path() const { return path_; }
  /// All verdicts up to the last opening or append(). Truncated or corrupt lines are skipped; each
  /// causes one warning.
  const std::vector<Verdict>& verdicts() const { return verdicts_; }

  /// Appends lines, each with one write(), after reading the lines that others have added. Calls
  /// `then` before it releases the file to other writers, to write the table that is derived from
  /// the log.
  void append(std::span<const Verdict> verdicts, const std::function<void()>& then = [] {});

 private:
  void update();
  void read_lines(std::string_view text);

  std::filesystem::path path_;
  Warn warn_;
  FileDescriptor file_;
  int64_t offset_ = 0;  ///< bytes read so far
  int line_ = 0;        ///< lines read so far
  bool cut_ = false;    ///< the last line read has no end
  std::vector<Verdict> verdicts_;
};

}  // namespace mmrec::tune
