#include "train/run/event_file.h"
#include "train/run/recorded_run.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <iterator>

#include "support/checksum.h"
#include "tests/common/small_runs.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kStart = 1;  // status value of SessionLog

/// Computes CRC-32C bit by bit.
uint32_t slow_crc32c(std::string_view text) {
  uint32_t crc = 0xFFFFFFFF;
  for (const char byte : text) {
    crc ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? (crc >> 1) ^ 0x82F63B78 : crc >> 1;
  }
  return crc ^ 0xFFFFFFFF;
}

template <class T>
T read_number(std::string_view bytes) {
  EXPECT_GE(bytes.size(), sizeof(T));
  T value{};
  std::memcpy(&value, bytes.data(), std::min(sizeof value, bytes.size()));
  return value;
}

/// A field of a message: a varint, or the bytes of any other type.
struct Field {
  int wire = 0;
  uint64_t integer = 0;
  std::string_view bytes = {};
};
using Message = std::multimap<int, Field>;

Message parse(std::string_view bytes) {
  Message message;
  const auto varint = [&] {
    uint64_t value = 0;
    for (int shift = 0; !bytes.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes.front());
      bytes.remove_prefix(1);
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    ADD_FAILURE() << "a varint ends too early";
    return value;
  };
  while (!bytes.empty()) {
    const uint64_t tag = varint();
    Field field{.wire = static_cast<int>(tag & 7)};
    if (field.wire == 0) {
      field.integer = varint();
    } else {
      const uint64_t size = field.wire == 1 ? 8 : field.wire == 5 ? 4 : varint();
      EXPECT_LE(size, bytes.size());
      field.bytes = bytes.substr(0, size);
      bytes.remove_prefix(field.bytes.size());
    }
    message.emplace(static_cast<int>(tag >> 3), field);
  }
  return message;
}

struct Event {
  double wall_time = 0;
  int64_t step = 0;
  std::string version = {};
  int64_t session = 0;  ///< 0: none
  std::map<std::string, float> scalars = {};
};

Event parse_event(std::string_view bytes) {
  const Message message = parse(bytes);
  Event event;
  for (const auto& [number, field] : message) {
    if (number == 1) event.wall_time = read_number<double>(field.bytes);
    if (number == 2) event.step = static_cast<int64_t>(field.integer);
    if (number == 3) event.version = field.bytes;
    if (number == 7)
      event.session = static_cast<int64_t>(parse(field.bytes).find(1)->second.integer);
    if (number != 5) continue;
    for (const auto& [one, value] : parse(field.bytes)) {
      EXPECT_EQ(one, 1);
      const Message parts = parse(value.bytes);
      event.scalars[std::string(parts.find(1)->second.bytes)] =
          read_number<float>(parts.find(2)->second.bytes);
    }
  }
  return event;
}

/// Parses all complete records; expects correct checksums.
std::vector<Event> read_events(std::string_view bytes) {
  const auto masked = [](std::string_view text) {
    const uint32_t crc = slow_crc32c(text);
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
  };
  std::vector<Event> events;
  while (bytes.size() >= 16) {
    const auto length = read_number<uint64_t>(bytes);
    EXPECT_EQ(read_number<uint32_t>(bytes.substr(8)), masked(bytes.substr(0, 8)));
    if (bytes.size() - 16 < length) break;
    EXPECT_EQ(read_number<uint32_t>(bytes.substr(12 + length)), masked(bytes.substr(12, length)));
    events.push_back(parse_event(bytes.substr(12, length)));
    bytes.remove_prefix(16 + length);
  }
  return events;
}

/// Returns the event files sorted by name, the order in which TensorBoard reads them.
std::vector<fs::path> event_files(const fs::path& folder) {
  std::set<fs::path> paths;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    if (is_event_file(entry.path().filename().string())) paths.insert(entry.path());
  return {paths.begin(), paths.end()};
}

/// Returns what TensorBoard shows: a session start discards its step and later ones.
std::map<std::string, std::map<int64_t, float>> shown(const fs::path& folder) {
  std::map<std::string, std::map<int64_t, float>> curves;
  for (const fs::path& path : event_files(folder))
    for (const Event& event : read_events(read_file(path))) {
      if (event.session == kStart)
        for (auto& [name, points] : curves)
          points.erase(points.lower_bound(event.step), points.end());
      for (const auto& [name, value] : event.scalars)
        EXPECT_TRUE(curves[name].emplace(event.step, value).second) << name << " at " << event.step;
    }
  return curves;
}

void expect_shows_metrics(const fs::path& folder) {
  std::map<std::string, std::map<int64_t, float>> want;
  for (const MetricsRow& row : read_metrics(folder / "metrics.jsonl")) {
    const auto add = [&](const std::string& name, double value) {
      if (!std::isnan(value)) want[name][row.step] = static_cast<float>(value);
    };
    add("loss/" + row.split, row.loss);
    add("perplexity/" + row.split, row.perplexity());
    add("accuracy/" + row.split, row.accuracy);
    add("tokens_per_second/" + row.split, row.tokens_per_second);
    add("lr", row.lr);
    add("grad_norm", row.grad_norm);
    add("aux_loss", row.aux_loss);
    add("max_factor", row.max_factor);
    add("max_state", row.max_state);
  }
  EXPECT_EQ(shown(folder), want);
}

TEST(EventFile, Crc32cMatchesTheStandard) {
  EXPECT_EQ(crc32c_of("123456789"), 0xE3069283u);  // check value from the catalogue of CRCs
  EXPECT_EQ(crc32c_of(std::string(32, '\0')), 0x8A9136AAu);  // RFC 3720, B.4
  EXPECT_EQ(crc32c_of(""), 0u);
}

TEST(EventFile, HoldsARunsRows) {
  const test::TemporaryDirectory directory;
  const double before =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  EventFile file(directory.path(), 301);
  ASSERT_EQ(event_files(directory.path()).size(), 1u);
  const fs::path path = event_files(directory.path()).front();
  ASSERT_EQ(read_events(read_file(path)).size(), 2u);

  file.append({.step = 301,
               .epoch = 1,
               .loss = 2.5,
               .accuracy = 0.25,
               .lr = 3e-4,
               .grad_norm = 0.1,
               .tokens = 512,
               .tokens_per_second = 12345.5});
  EXPECT_EQ(read_events(read_file(path)).size(), 3u) << "a row is there as soon as it is written";
  file.append({.step = int64_t{1} << 40,
               .epoch = 2,
               .split = "val",
               .loss = 2,
               .accuracy = 0.5,
               .tokens_per_second = 1});
  const std::vector<Event> events = read_events(read_file(path));
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].version, "brain.Event:2");
  EXPECT_EQ(events[1].session, kStart);
  EXPECT_EQ(events[1].step, 301);
  EXPECT_EQ(events[2].step, 301);
  EXPECT_EQ(events[2].scalars,
            (std::map<std::string, float>{{"loss/train", 2.5f},
                                          {"perplexity/train", static_cast<float>(std::exp(2.5))},
                                          {"accuracy/train", 0.25f},
                                          {"tokens_per_second/train", 12345.5f},
                                          {"lr", 3e-4f},
                                          {"grad_norm", 0.1f}}));
  EXPECT_EQ(events[3].step, int64_t{1} << 40);
  EXPECT_EQ(events[3].scalars,
            (std::map<std::string, float>{{"loss/val", 2.f},
                                          {"perplexity/val", static_cast<float>(std::exp(2.))},
                                          {"accuracy/val", 0.5f},
                                          {"tokens_per_second/val", 1.f}}));
  for (const Event& event : events) {
    EXPECT_GE(event.wall_time, before);
    EXPECT_LE(event.wall_time, before + 60);
  }
}

TEST(EventFile, LaterFilesHaveLaterNames) {
  const test::TemporaryDirectory directory;
  for (const char* other :
       {"events.out.tfevents.9000000000.elsewhere.1", "events.out.tfevents.", "metrics.jsonl"})
    std::ofstream(directory / other) << "";
  std::vector<fs::path> made;
  for (int i = 0; i < 3; ++i) {
    const std::vector<fs::path> before = event_files(directory.path());
    EventFile(directory.path(), 1);
    std::vector<fs::path> all = event_files(directory.path());
    ASSERT_EQ(all.size(), before.size() + 1);
    EXPECT_EQ(all.back().filename().string().substr(0, 30),
              fmt::format("events.out.tfevents.{}", 9000000001 + i));
  }
}

class EventFileOfARun : public test::SmallRuns {
 protected:
  TrainOptions run(const std::string& out) const {
    TrainOptions run = options(out);
    run.steps = 12;
    run.eval_every = 2;
    run.save_every = 3;
    run.patience = 0;
    run.keep = 100;
    run.tensorboard = true;
    return run;
  }
};

TEST_F(EventFileOfARun, EqualsTheMetrics) {
  const TrainOptions whole = run("whole");
  train(whole);
  EXPECT_EQ(event_files(whole.out).size(), 1u);
  expect_shows_metrics(whole.out);

  TrainOptions without = run("without");
  without.tensorboard = false;
  train(without);
  EXPECT_TRUE(event_files(without.out).empty());
}

TEST_F(EventFileOfARun, ContinuesAtTheResumedStep) {
  const TrainOptions whole = run("whole");
  train(whole);
  // Resumed from an earlier step. The previous file may be cut anywhere, by a kill or a power cut.
  const fs::path first = event_files(whole.out).front();
  fs::resize_file(first, fs::file_size(first) - 5);
  resume_training(whole.out / "checkpoint_step_000003",
                  [](TrainOptions& options) { options.quiet = true; });
  EXPECT_EQ(event_files(whole.out).size(), 2u);
  expect_shows_metrics(whole.out);
  EXPECT_EQ(shown(whole.out).at("loss/train").size(), 12u);
  EXPECT_EQ(shown(whole.out).at("loss/val").size(), 6u);
}

TEST_F(EventFileOfARun, IsMovedAwayWithTheRun) {
  TrainOptions again = run("again");
  train(again);
  const std::string before = read_file(event_files(again.out).front());
  again.overwrite = true;
  train(again);
  ASSERT_EQ(event_files(again.out).size(), 1u);
  ASSERT_EQ(event_files(again.out / "previous").size(), 1u);
  EXPECT_EQ(read_file(event_files(again.out / "previous").front()), before);
  expect_shows_metrics(again.out);
}

}  // namespace
}  // namespace mmrec
