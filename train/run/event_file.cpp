#include "train/run/event_file.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <chrono>
#include <cmath>
#include <string_view>

#include "support/checksum.h"
#include "support/error.h"
#include "support/host_name.h"

namespace mmrec {
namespace {

constexpr std::string_view kPrefix = "events.out.tfevents.";

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

template <class T>
std::string little_endian(T value) {
  static_assert(std::endian::native == std::endian::little);
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

/// Fields of a protocol buffers message; see https://protobuf.dev/programming-guides/encoding.
enum class Wire { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

std::string tag(uint64_t field, Wire wire) {
  return varint(field << 3 | static_cast<uint64_t>(wire));
}
std::string integer_field(int field, int64_t value) {
  return tag(field, Wire::kVarint) + varint(static_cast<uint64_t>(value));
}
std::string double_field(int field, double value) {
  return tag(field, Wire::kFixed64) + little_endian(value);
}
std::string float_field(int field, float value) {
  return tag(field, Wire::kFixed32) + little_endian(value);
}
std::string bytes_field(int field, std::string_view bytes) {
  return tag(field, Wire::kBytes) + varint(bytes.size()).append(bytes);
}

// Field numbers are from tensorflow/core/util/event.proto and
// tensorflow/core/framework/summary.proto.

std::string event(const std::string& content, int64_t step) {
  return double_field(1, now()) + integer_field(2, step) + content;
}
std::string file_version() { return bytes_field(3, "brain.Event:2"); }
std::string session_start() {
  constexpr int kStart = 1;
  return bytes_field(7, integer_field(1, kStart));
}
std::string summary_value(std::string_view name, double value) {
  return bytes_field(1, bytes_field(1, name) + float_field(2, static_cast<float>(value)));
}

/// A TFRecord: length, checksum of the length, bytes, checksum of the bytes.
std::string record(const std::string& bytes) {
  const auto masked = [](std::string_view text) {
    return little_endian(std::rotr(crc32c_of(text), 15) + 0xa282ead8u);
  };
  const std::string length = little_endian(uint64_t{bytes.size()});
  return length + masked(length) + bytes + masked(bytes);
}

/// Returns events.out.tfevents.SECONDS.HOST.PROCESS. SECONDS is the time, or larger than in all
/// existing files.
PathAt next_name(const PathAt& folder) {
  auto seconds = static_cast<int64_t>(now());
  for (const std::string& name : names_in(folder)) {
    int64_t other = 0;
    if (is_event_file(name) &&
        std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), other).ec ==
            std::errc())
      seconds = std::max(seconds, other + 1);
  }
  return folder / fmt::format("{}{:010}.{}.{}", kPrefix, seconds, host_name(), ::getpid());
}

}  // namespace

bool is_event_file(const std::string& name) { return name.starts_with(kPrefix); }

EventFile::EventFile(const PathAt& folder, int64_t first_step) : file_(next_name(folder)) {
  file_.append(record(event(file_version(), 0)) + record(event(session_start(), first_step)));
}

void EventFile::append(const MetricsRow& row) {
  std::string values;
  const auto add = [&](const std::string& name, double value) {
    if (!std::isnan(value)) values += summary_value(name, value);
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
  file_.append(record(event(bytes_field(5, values), row.step)));
}

}  // namespace mmrec
