#include "runtime/trace.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "runtime/context_parts.h"
#include "runtime/profile.h"
#include "runtime/threads.h"

namespace mmrec {

namespace {

using json = nlohmann::ordered_json;
using Kind = TraceEvent::Kind;

/// Returns the profile if a trace is on, else null.
Profile* traced_profile() {
  Profile& p = Profile::current();
  return p.keeps(Profile::kEvents) ? &p : nullptr;
}

double time_if(const Profile* traced) { return traced ? trace_clock() : 0; }

/// Adds an event that ends now.
void add_event(Profile& profile, TraceEvent event) {
  event.thread = trace_thread();
  event.end = trace_clock();
  std::lock_guard lock(profile.mutex);
  profile.events.push_back(event);
}

std::string label_of(const KernelEntry& kernel) {
  return kernel_label(kernel.op, kernel.pass, kernel.dtype, kernel.variant);
}

json kernel_args(const TraceEvent& event) {
  const KernelEntry& kernel = *event.kernel;
  json sizes = json::object();
  const std::vector<std::string>& names = registry::find_operation(kernel.op)->sizes;
  for (int i = 0; i < event.sizes.count(); ++i) sizes[names[i]] = event.sizes.data()[i];
  return {{"op", kernel.op},         {"pass", kernel.pass},
          {"dtype", kernel.dtype},   {"variant", kernel.variant},
          {"params", kernel.params}, {"sizes", sizes},
          {"flops", event.flops},    {"GFLOP/s", event.flops / (event.end - event.begin) / 1e9}};
}

/// Writes the lines of a trace's JSON. Times count from `begin`, rows from 0.
class TraceWriter {
 public:
  explicit TraceWriter(double begin) : begin_(begin) {}

  void name_process(const std::string& name) {
    add({{"name", "process_name"}, {"ph", "M"}, {"pid", ::getpid()}, {"args", {{"name", name}}}});
  }

  void name_row(size_t row, const std::string& name) {
    const auto meta = [&](const char* what, const json& args) {
      add({{"name", what}, {"ph", "M"}, {"pid", ::getpid()}, {"tid", row}, {"args", args}});
    };
    meta("thread_name", {{"name", name}});
    meta("thread_sort_index", {{"sort_index", row}});
  }

  void span(size_t row, std::string_view name, const char* category, double begin, double end,
            const json& args = json::object()) {
    // Whole nanoseconds: what ends before another begins still does so as text.
    const int64_t from = nanoseconds(begin), to = nanoseconds(end);
    add({{"name", name},
         {"cat", category},
         {"ph", "X"},
         {"pid", ::getpid()},
         {"tid", row},
         {"ts", static_cast<double>(from) / 1e3},
         {"dur", static_cast<double>(to - from) / 1e3},
         {"args", args}});
  }

  void event(size_t row, const TraceEvent& event) {
    const auto write = [&](std::string_view name, const char* category,
                           const json& args = json::object()) {
      span(row, name, category, event.begin, event.end, args);
    };
    switch (event.kind) {
      case Kind::kKernel:
        return write(label_of(*event.kernel), "kernel", kernel_args(event));
      case Kind::kPart:
        return write("part of " + (event.kernel ? label_of(*event.kernel) : "a loop"), "part",
                     {{"first_task", event.first_task},
                      {"tasks", event.tasks},
                      {"all_tasks", event.all_tasks}});
      case Kind::kWait:
        return write("waits for other threads", "wait");
    }
  }

  std::string text() const { return fmt::format("{}\n{}\n]}}\n", kTraceBegin, lines_); }

 private:
  int64_t nanoseconds(double time) const { return std::llround((time - begin_) * 1e9); }
  void add(const json& event) {
    if (!lines_.empty()) lines_ += ",\n";
    lines_ += event.dump();
  }

  const double begin_;
  std::string lines_;
};

using Events = std::vector<TraceEvent>;

/// Returns the events of each thread, sorted by time, outer ones first. The caller's are the first;
/// its list may be empty.
std::vector<Events> by_thread(Events events, int caller) {
  // An event is recorded at its end: of two that begin together, the outer one later.
  std::ranges::reverse(events);
  std::ranges::stable_sort(events, {}, &TraceEvent::begin);
  std::vector<Events> threads(1);
  for (const TraceEvent& event : events) {
    const auto place =
        event.thread == caller
            ? threads.begin()
            : std::find_if(threads.begin() + 1, threads.end(), [&](const Events& other) {
                return other.front().thread == event.thread;
              });
    (place == threads.end() ? threads.emplace_back() : *place).push_back(event);
  }
  return threads;
}

/// Writes a worker's events and the gaps between them.
void write_worker(TraceWriter& writer, size_t row, const Events& events, double begin, double end) {
  const auto idle_until = [&](double next) {
    if (next > begin) writer.span(row, "idle", "idle", begin, next);
  };
  for (const TraceEvent& event : events) {
    idle_until(event.begin);
    writer.event(row, event);
    begin = std::max(begin, event.end);
  }
  idle_until(end);
}

}  // namespace

double trace_clock() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int trace_thread() {
  static thread_local const int id = ::gettid();
  return id;
}

Trace::Trace() : begin_(trace_clock()) {
  Profile& p = Profile::current();
  std::lock_guard lock(p.mutex);
  p.events.clear();
  p.kept |= Profile::kEvents;
}

Trace::~Trace() { stop(); }

void Trace::stop() { Profile::current().kept &= ~Profile::kEvents; }

std::string Trace::json(std::string_view name) {
  stop();
  const double end = trace_clock();
  std::vector<TraceEvent> events;
  {
    Profile& p = Profile::current();
    std::lock_guard lock(p.mutex);
    events = std::exchange(p.events, {});
  }
  // Calls of other host threads may lie across the borders.
  std::erase_if(events, [&](const TraceEvent& e) { return e.begin < begin_ || e.end > end; });
  const int caller = trace_thread();
  std::vector<Events> rows = by_thread(std::move(events), caller);
  // Threads that got no work in all that time have a row, too.
  rows.resize(std::max(rows.size(), static_cast<size_t>(num_threads())));
  TraceWriter writer(begin_);
  writer.name_process("MM-Rec");
  for (size_t i = 0; i < rows.size(); ++i)
    writer.name_row(i, i == 0 ? fmt::format("main (thread {})", caller)
                       : rows[i].empty()
                           ? fmt::format("worker {} (no work)", i)
                           : fmt::format("worker {} (thread {})", i, rows[i].front().thread));
  writer.span(0, name, "step", begin_, end);
  for (const TraceEvent& event : rows[0]) writer.event(0, event);
  for (size_t i = 1; i < rows.size(); ++i) write_worker(writer, i, rows[i], begin_, end);
  return writer.text();
}

TracedPart::TracedPart(const KernelEntry* kernel, int all_tasks)
    : profile_(traced_profile()),
      event_{.kind = Kind::kPart,
             .thread = 0,
             .begin = time_if(profile_),
             .end = 0,
             .kernel = kernel,
             .all_tasks = all_tasks} {}

void TracedPart::record() { add_event(*profile_, event_); }

TracedWait::TracedWait() : profile_(traced_profile()), begin_(time_if(profile_)) {}

void TracedWait::record() const {
  add_event(*profile_, {.kind = Kind::kWait, .thread = 0, .begin = begin_, .end = 0});
}

}  // namespace mmrec
