#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "support/strict_json.h"

namespace mmrec::test {

/// A complete event of a trace. Times in ns.
struct Span {
  std::string name, category;
  int64_t begin, end;
  nlohmann::json args;
  int64_t time() const { return end - begin; }
};

/// The JSON of a Trace, by thread. The thread that has the step is the first.
class TraceFile {
 public:
  explicit TraceFile(std::string_view text) {
    const nlohmann::json trace = parse_json(text, "trace");
    for (const nlohmann::json& event : trace.at("traceEvents")) {
      if (event.at("ph") == "X")
        add(event);
      else if (event.at("name") == "thread_name")
        names[event.at("tid")] = event.at("args").at("name");
    }
  }

  /// Returns the events of a category, of all threads or of those that are `main` or are not.
  std::vector<Span> of(std::string_view category, std::set<bool> main = {true, false}) const {
    std::vector<Span> found;
    for (const auto& [thread, events] : threads)
      for (const Span& event : events)
        if (event.category == category && main.contains(names.at(thread).starts_with("main")))
          found.push_back(event);
    return found;
  }

  /// Checks that events of a thread nest, that a worker's add up to the step, and that every thread
  /// has a name.
  void expect_consistent() const {
    const std::vector<Span> step = of("step");
    ASSERT_EQ(step.size(), 1);
    for (const auto& [thread, events] : threads) {
      ASSERT_TRUE(names.contains(thread));
      int64_t outermost = 0;
      std::vector<Span> open;
      for (const Span& event : events) {
        EXPECT_LE(event.begin, event.end) << event.name;
        while (!open.empty() && open.back().end <= event.begin) open.pop_back();
        if (open.empty()) {
          EXPECT_GE(event.begin, step[0].begin) << event.name;
          EXPECT_LE(event.end, step[0].end) << event.name;
          outermost += event.time();
        } else {
          EXPECT_GE(event.begin, open.back().begin) << event.name;
          EXPECT_LE(event.end, open.back().end) << event.name << " in " << open.back().name;
        }
        open.push_back(event);
      }
      EXPECT_EQ(outermost, step[0].time()) << names.at(thread);
    }
  }

  std::map<int, std::vector<Span>> threads;
  std::map<int, std::string> names;

 private:
  void add(const nlohmann::json& event) {
    const auto ns = [&](const char* key) {
      return std::llround(event.at(key).get<double>() * 1e3);
    };
    threads[event.at("tid")].push_back(
        {event.at("name"), event.at("cat"), ns("ts"), ns("ts") + ns("dur"), event.at("args")});
  }
};

}  // namespace mmrec::test
