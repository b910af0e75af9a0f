#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "support/console.h"

namespace mmrec {

/// Formats "999 bytes", "1.1 MB", "2.00 GB": powers of ten, three digits.
std::string format_bytes(int64_t bytes);

/// Displays progress in bytes. On a terminal: a bar, redrawn at most ten times a second. Otherwise:
/// a line every ten seconds; nothing for shorter work.
class ByteProgress {
 public:
  /// `what` ("reading") names the work. total: number of bytes, 0: unknown. begun: bytes done
  /// before.
  ByteProgress(Console& console, std::string what, int64_t total, int64_t begun = 0);
  /// Erases the bar.
  ~ByteProgress() { console_.erase_status(); }
  ByteProgress(const ByteProgress&) = delete;
  ByteProgress& operator=(const ByteProgress&) = delete;

  void update(int64_t done);

 private:
  using Clock = std::chrono::steady_clock;

  Console& console_;
  std::string what_;
  int64_t total_, begun_;
  Clock::time_point start_ = Clock::now(), shown_ = start_;
};

}  // namespace mmrec
