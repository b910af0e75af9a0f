#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "support/console.h"

namespace mmrec {

/// "999 bytes", "1.1 MB", "2.00 GB": powers of ten, three digits.
std::string format_bytes(int64_t bytes);

/// The display of something that goes through bytes: a bar on a terminal, redrawn at most ten times a second, else a plain line
/// every ten seconds, and nothing for what takes less.
class ByteProgress {
 public:
  /// `what` ("reading") names it. total: how many there are in all, 0: unknown; begun: how many were done before.
  ByteProgress(Console& console, std::string what, int64_t total, int64_t begun = 0);
  /// The bar goes with its owner.
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
