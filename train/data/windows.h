#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/tensor.h"
#include "train/data/tokens.h"

namespace mmrec {

/// A text cut into windows of T tokens. Window i reads tokens i*T .. i*T+T-1 and predicts i*T+1 ..
/// i*T+T. Tokens left at the end are unused. With a shift of s tokens, window i begins at s + i*T;
/// the last window is moved back so that it ends with the text.
class WindowSet {
 public:
  /// Throws a UsageError if the text is too short for one window; `what` ("the training text") goes
  /// into the message.
  WindowSet(Tokens tokens, int T, std::string_view what);

  int count() const { return count_; }
  int T() const { return T_; }

  /// Copies windows to the columns of ids and targets, time-major [T][number of windows]. `shift`
  /// must be below T.
  void fill(std::span<const int> windows, const IntTensor& ids, const IntTensor& targets,
            int shift = 0) const;

  /// Returns the shift of a training epoch's windows: 0 in the first epoch, a random shift in later
  /// ones, so that text read again comes in a new context.
  int shift(uint64_t seed, int64_t epoch) const;

 private:
  Tokens tokens_;
  int T_, count_;
};

/// One step's batch. `windows` is valid until the next call of BatchOrder::batch.
struct Batch {
  int64_t epoch;  ///< from 1
  std::span<const int> windows;
};

/// Chooses the windows of each training step. Every epoch visits the windows in a new order, which
/// depends only on (seed, epoch): a resumed run needs only its step. Windows left over at the end
/// of an epoch, too few for a batch, are skipped in that epoch.
/// The order is never stored. Each window is computed on demand in a microsecond or two
/// (swap-or-not: Hoang, Morris, Rogaway, "An enciphering scheme based on a card shuffle", 2012), so
/// a text of any length costs no memory and no setup time.
class BatchOrder {
 public:
  /// B: windows per batch. Throws a UsageError if there are fewer windows.
  BatchOrder(int windows, int B, uint64_t seed);

  int steps_per_epoch() const { return windows_ / static_cast<int>(batch_.size()); }
  /// Returns the batch of a step (from 1). Allocates nothing.
  Batch batch(int64_t step);

 private:
  void begin_epoch(int64_t epoch);
  int window_at(int place) const;

  int windows_;
  uint64_t seed_;
  int64_t epoch_ = 0;        // epoch of the pivots; 0: none yet
  std::vector<int> pivots_;  // one per round
  std::vector<int> batch_;
};

}  // namespace mmrec
