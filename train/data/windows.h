#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/tensor.h"
#include "train/data/tokens.h"

namespace mmrec {

/// A text cut into windows of T tokens. Window i reads tokens i*T .. i*T+T-1 and predicts i*T+1 .. i*T+T; what is left at
/// the end is not used. Where the windows are shifted by s tokens, i*T is s + i*T, and the last window moves no further than to
/// the text's end.
class WindowSet {
 public:
  /// Throws a UsageError where the text is too short for one window; `what` ("the training text") goes into it.
  WindowSet(Tokens tokens, int T, std::string_view what);

  int count() const { return count_; }
  int T() const { return T_; }

  /// Windows as the columns of ids and targets, both time-major [T][number of windows]. `shift` is below T.
  void fill(std::span<const int> windows, const IntTensor& ids, const IntTensor& targets, int shift = 0) const;

  /// By how many tokens a training run shifts an epoch's windows: by none in the first, in each later one by a number that is
  /// drawn for it, so that what is read again comes in another context.
  int shift(uint64_t seed, int64_t epoch) const;

 private:
  Tokens tokens_;
  int T_, count_;
};

/// One step's batch; the window ids live until the next call of BatchOrder::batch.
struct Batch {
  int64_t epoch;  ///< from 1
  std::span<const int> windows;
};

/// Which windows each training step takes. Every epoch visits the windows in a new order, a function of (seed, epoch) alone, so
/// a resumed run needs nothing but its step; the windows left over when a batch is no longer full wait for another epoch.
/// An order is never written down: window by window it is computed (swap-or-not: Hoang, Morris, Rogaway, "An enciphering scheme
/// based on a card shuffle", 2012), in a microsecond or two, so that a text of any length costs no memory and no wait.
class BatchOrder {
 public:
  /// B windows a batch; throws a UsageError where there are fewer windows than that.
  BatchOrder(int windows, int B, uint64_t seed);

  int steps_per_epoch() const { return windows_ / static_cast<int>(batch_.size()); }
  /// The batch of a step, counted from 1. Allocates nothing.
  Batch batch(int64_t step);

 private:
  void begin_epoch(int64_t epoch);
  int window_at(int place) const;

  int windows_;
  uint64_t seed_;
  int64_t epoch_ = 0;        // the one that the pivots are of; 0: none yet
  std::vector<int> pivots_;  // a round
  std::vector<int> batch_;
};

}  // namespace mmrec
