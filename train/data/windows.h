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

/// One step's batch. The spans are valid until the next call of BatchOrder::batch.
struct Batch {
  int64_t epoch;  ///< from 1
  std::span<const int> windows;
  /// Per row, 1: its window begins a walk, from a zero state; 0: it continues its stream's window
  /// before. Empty: every window begins at zero.
  std::span<const uint8_t> begins = {};
  int first_stream = 0;  ///< row b is of stream first_stream + b
};

/// Chooses the windows of each training step. Every epoch visits the windows in a new order, which
/// depends only on (seed, epoch): a resumed run needs only its step. Windows left over at the end
/// of an epoch, too few for a batch, are skipped in that epoch.
///
/// With a walk of N > 1 windows, the text is cut into walks of N consecutive windows, at other
/// places in every epoch, and the order is one of walks. Many streams, some per row of the batch,
/// have a part of that order each; the steps take a window of each stream in turn. So a stream
/// reads consecutive windows, but steps near each other read different passages: gradients of
/// consecutive windows are alike, and steps that follow each other with them train worse. The
/// streams begin at different places of a walk: in each step some rows begin a walk, and others are
/// in the middle of one.
///
/// The order is never stored. Each window is computed on demand in a microsecond or two
/// (swap-or-not: Hoang, Morris, Rogaway, "An enciphering scheme based on a card shuffle", 2012), so
/// a text of any length costs no memory and no setup time.
class BatchOrder {
 public:
  /// B: windows per batch. walk: windows per walk, 1: single windows. Throws a UsageError if there
  /// are fewer windows than a batch or a walk needs.
  BatchOrder(int windows, int B, uint64_t seed, int walk = 1);

  int steps_per_epoch() const { return walks_ * walk_ / streams_ * turns_; }
  /// Number of streams, a multiple of B; B if walks have one window.
  int streams() const { return streams_; }
  /// Returns the batch of a step (from 1). Allocates nothing.
  Batch batch(int64_t step);

 private:
  void begin_epoch(int64_t epoch);
  int walk_at(int place) const;
  void choose_walking(int step);

  int windows_, walk_, walks_;
  int turns_, streams_;  // steps until a stream's turn comes again; B * turns_
  uint64_t seed_;
  int64_t epoch_ = 0;        // epoch of the pivots; 0: none yet
  int first_window_ = 0;     // of the epoch's walk 0
  std::vector<int> pivots_;  // one per round
  std::vector<int> batch_;
  std::vector<uint8_t> begins_;  // see Batch; empty if walk_ is 1
};

}  // namespace mmrec
