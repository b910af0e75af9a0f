#include "bench/tune/log.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <sys/file.h>

#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <set>

#include "support/console.h"
#include "support/error.h"
#include "support/exceptions.h"
#include "support/strict_json.h"

namespace mmrec::tune {

namespace {

constexpr std::array<std::pair<Status, const char*>, 6> kStatusNames = {
    {{Status::kOk, "ok"},
     {Status::kDropped, "dropped"},
     {Status::kWrong, "wrong"},
     {Status::kRefused, "refused"},
     {Status::kFailed, "failed"},
     {Status::kSlowCompile, "slow_compile"}}};

nlohmann::json instance_json(const Instance& instance) {
  return {{"variant", instance.variant}, {"params", params_json(instance.params)}};
}

Instance instance_from(const nlohmann::json& json) {
  return {json.at("variant"), params_from_json(json.at("params"))};
}

std::string to_line(const Verdict& verdict) {
  nlohmann::ordered_json line;
  line["time"] = verdict.time;
  line["cpu"] = verdict.machine.cpu;
  line["microarchitecture"] = verdict.machine.microarchitecture;
  line["isa"] = verdict.machine.isa;
  line["target"] = verdict.machine.target;
  line["halide"] = verdict.machine.halide;
  line["threads"] = verdict.machine.threads;
  line["op"] = verdict.call.op;
  line["pass"] = verdict.call.pass;
  line["dtype"] = verdict.call.dtype;
  line["sizes"] = verdict.call.sizes;
  line["variant"] = verdict.instance.variant;
  line["params"] = params_json(verdict.instance.params);
  line["code"] = verdict.code;
  if (!verdict.lowered.empty()) line["lowered"] = verdict.lowered;
  line["status"] = status_name(verdict.status);
  if (verdict.timed()) {
    line["race"] = verdict.race;
    line["seconds"] = seconds_json(verdict.seconds);
    line["incumbent"] = instance_json(verdict.incumbent);
    line["incumbent_seconds"] = verdict.incumbent_seconds;
    line["default_seconds"] = verdict.default_seconds;
    if (verdict.wins) line["wins"] = *verdict.wins;
  }
  if (!verdict.message.empty()) line["message"] = verdict.message;
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

Verdict from_line(std::string_view text) {
  const nlohmann::json line = parse_json(text, "a line of the log");
  Verdict verdict;
  verdict.time = line.at("time");
  verdict.machine = {.cpu = line.at("cpu"),
                     .microarchitecture = line.at("microarchitecture"),
                     .isa = line.at("isa"),
                     .target = line.at("target"),
                     .halide = line.at("halide"),
                     .threads = count_from_json(line.at("threads"))};
  verdict.call = {line.at("op"), line.at("pass"), sizes_from_json(line.at("sizes")),
                  line.value("dtype", kFloat32)};  // absent in earlier versions
  verdict.instance = instance_from(line);
  verdict.code = line.value("code", "");  // absent in earlier versions
  verdict.lowered = line.value("lowered", "");
  verdict.status = status_from_name(line.at("status"));
  if (verdict.timed()) {
    if (const std::string wrong = wrong_sizes(verdict.call); !wrong.empty()) fail("{}", wrong);
    verdict.race = line.at("race");
    const nlohmann::json& seconds = line.at("seconds");
    verdict.seconds = {seconds.at("best"), seconds_from_json(seconds.at("median")),
                       seconds.at("mad")};
    verdict.incumbent = instance_from(line.at("incumbent"));
    verdict.incumbent_seconds = seconds_from_json(line.at("incumbent_seconds"));
    verdict.default_seconds = seconds_from_json(line.at("default_seconds"));
    if (line.contains("wins")) verdict.wins = line.at("wins").get<bool>();
  }
  if (line.contains("message")) verdict.message = line.at("message");
  return verdict;
}

/// Holds an exclusive lock on a file during its lifetime.
class FileLock {
 public:
  FileLock(int descriptor, const std::filesystem::path& path) : descriptor_(descriptor) {
    while (::flock(descriptor_, LOCK_EX) != 0)
      if (errno != EINTR) fail_on_file("lock", path, errno);
  }
  ~FileLock() { ::flock(descriptor_, LOCK_UN); }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int descriptor_;
};

}  // namespace

std::string status_name(Status status) {
  for (const auto& [known, name] : kStatusNames)
    if (status == known) return name;
  return "";
}

Status status_from_name(const std::string& name) {
  for (const auto& [status, known] : kStatusNames)
    if (name == known) return status;
  fail("there is no status '{}'", name);
}

nlohmann::json seconds_json(const Timing& seconds) {
  return {{"best", seconds.best}, {"median", seconds.median}, {"mad", seconds.mad}};
}

std::function<void(const std::string&)> warn_once() {
  return [seen = std::set<std::string>()](const std::string& text) mutable {
    if (seen.insert(text).second) print_warning(text);
  };
}

std::string utc_time() { return utc_time(std::filesystem::file_time_type::clock::now()); }

std::string utc_time(std::filesystem::file_time_type time) {
  using Clock = std::filesystem::file_time_type::clock;
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(Clock::to_sys(time))));
}

Log::Log(std::filesystem::path path, Warn warn)
    : path_(std::move(path)),
      warn_(std::move(warn)),
      file_("open", path_, O_RDWR | O_CREAT | O_APPEND) {
  const FileLock lock(file_, path_);
  update();
}

void Log::append(std::span<const Verdict> verdicts, const std::function<void()>& then) {
  const FileLock lock(file_, path_);
  update();
  bool cut = cut_;
  for (const Verdict& verdict : verdicts) {
    // Ends a truncated line first, so that it stays a line of its own.
    const std::string line = (cut ? "\n" : "") + to_line(verdict);
    file_.write(std::as_bytes(std::span(line)));
    cut = false;
  }
  update();
  then();
}

/// Reads the new lines. Call with the lock held: writers write whole lines, unless they are killed
/// in the middle of one.
void Log::update() {
  const int64_t size = file_.size();
  // The file was truncated or emptied: read it again from the start.
  if (size < offset_) {
    offset_ = 0;
    line_ = 0;
    cut_ = false;
    verdicts_.clear();
  }
  std::string text(static_cast<size_t>(size - offset_), '\0');
  text.resize(file_.read_at(offset_, std::as_writable_bytes(std::span(text))));
  if (text.empty()) return;
  read_lines(text);
  offset_ += std::ssize(text);
  cut_ = text.back() != '\n';
}

void Log::read_lines(std::string_view text) {
  // The end of the truncated line, which is counted already.
  if (cut_) text.remove_prefix(text.front() == '\n' ? 1 : 0);
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    ++line_;
    try {
      verdicts_.push_back(from_line(text.substr(0, end)));
    } catch (const std::exception& error) {
      warn_(fmt::format("{}:{}: skipped, no line of a tuning log: {}", path_.string(), line_,
                        in_words(error)));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

}  // namespace mmrec::tune
