#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bench/harness/race.h"
#include "generators/registry/schedule_table.h"

namespace mmrec::tune {

using namespace registry;  // calls, instances and rows are the tables'
using namespace bench;     // timings and races are the harness's

/// What times depend on besides the kernel.
struct Machine {
  std::string cpu, microarchitecture;  ///< runtime/cpu_info.h: amd_epyc_9r14, amd_zen4
  std::string isa;                     ///< tier of the kernels' target: avx512
  std::string target, halide;
  int threads = 1;

  /// With the kernels' target and the number of threads that are set.
  static Machine current();
};

/// What became of a candidate.
enum class Status {
  kOk,       ///< timed to the end of a race
  kDropped,  ///< timed and left a race early: far behind
  kWrong,    ///< other results than the trusted kernel's, or not the same ones every time
  kRefused,  ///< the generator or Halide refused its parameters
  kFailed,   ///< could not be made this time: the compiler crashed, or there was no memory or disk
             ///< for it
  kSlowCompile,  ///< took longer to compile than a candidate may
};
std::string status_name(Status status);
/// The inverse; throws an Error.
Status status_from_name(const std::string& name);

/// One line of the log: a verdict on a candidate, at one shape where it was timed.
struct Verdict {
  std::string time;  ///< of day, UTC: "2026-11-21T20:15:00Z"
  Machine machine;
  Call call;  ///< its sizes are empty where a verdict holds for all
  Instance instance;
  std::string code;          ///< as in a Build
  std::string lowered = {};  ///< the instance's own fingerprint; empty where it was not lowered
  Status status = Status::kOk;
  std::string race = {};    ///< the same for all that ran against each other
  Timing seconds = {};      ///< zeros where it was not timed
  Instance incumbent = {};  ///< what had to be beaten,
  double incumbent_seconds =
      0;  ///< what it took: seconds.median, by the median ratio of the samples of the same rounds
  double default_seconds = 0;  ///< the same of the default variant with the generator's defaults
  /// Of a race that a challenger runs alone against the incumbent: whether it has won. Others have
  /// none.
  std::optional<bool> wins = {};
  std::string message = {};  ///< why it is wrong or failed

  /// Time over that of the generator's defaults in the same race: comparable between races,
  /// whatever the machine's mood.
  double score() const { return seconds.median / default_seconds; }
  bool timed() const { return status == Status::kOk || status == Status::kDropped; }
  /// Whether the instance is never to be tried again. Failures may be those of a machine that was
  /// busy.
  bool bars() const { return status == Status::kWrong || status == Status::kRefused; }
};

/// Prints warnings on standard error, each once.
std::function<void(const std::string&)> warn_once();

/// Now, or another time, as in Verdict::time.
std::string utc_time();
std::string utc_time(std::filesystem::file_time_type time);

/// The append-only log of a machine: JSON lines. Any number of tuners may have it open.
class Log {
 public:
  /// Opens or creates it, and reads what is there.
  Log(std::filesystem::path path, Warn warn);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// All lines that were there when it was opened or last added to. A line that is cut off or
  /// corrupted is none; a warning names it once.
  const std::vector<Verdict>& verdicts() const { return verdicts_; }

  /// Adds lines, each with one write(), and reads those that others have added before them. `then`
  /// runs before anybody else may write: the table that is derived from the log.
  void append(std::span<const Verdict> verdicts, const std::function<void()>& then = [] {});

 private:
  void update();
  void read_lines(std::string_view text);

  std::filesystem::path path_;
  Warn warn_;
  int descriptor_;
  size_t offset_ = 0;  ///< how far the file has been read
  int line_ = 0;       ///< lines up to there
  bool cut_ = false;   ///< the last one has no end
  std::vector<Verdict> verdicts_;
};

}  // namespace mmrec::tune
