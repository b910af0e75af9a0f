#include "train/data/windows.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "runtime/rng.h"
#include "support/error.h"

namespace mmrec {
namespace {

/// Number of rounds of swap-or-not: enough that no order is noticeably more likely than another.
int rounds_for(int windows) { return 32 + 4 * std::bit_width(static_cast<unsigned>(windows)); }

// Counters in an epoch's random stream. The counters below are used for the pairs' bits.
constexpr uint64_t kPivots = uint64_t{1} << 63, kShift = kPivots - 1;

/// Every epoch has its own random stream.
Philox stream_of(uint64_t seed, int64_t epoch) {
  return Philox(seed, rng_stream(Stream::kShuffle, static_cast<uint64_t>(epoch)));
}

}  // namespace

WindowSet::WindowSet(Tokens tokens, int T, std::string_view what)
    : tokens_(std::move(tokens)), T_(T) {
  if (T < 1) fail_usage("a window of {} tokens makes no sense; it must be at least 1", T);
  if (tokens_.count() <= T)
    fail_usage("{} has {} characters, a window of {} needs {}; give more text or a smaller --seq",
               what, tokens_.count(), T, int64_t{T} + 1);
  const int64_t count = (tokens_.count() - 1) / T;
  if (count > std::numeric_limits<int>::max())
    fail_usage("{} has {} windows of {}, more than {}; give a larger --seq or less text", what,
               count, T, std::numeric_limits<int>::max());
  count_ = static_cast<int>(count);
}

void WindowSet::fill(std::span<const int> windows, const IntTensor& ids, const IntTensor& targets,
                     int shift) const {
  const int B = static_cast<int>(windows.size());
  check_shape("batch ids", ids, {T_, B});
  check_shape("batch targets", targets, {T_, B});
  if (shift < 0 || shift >= T_) fail("a shift of {} tokens is outside 0 .. {}", shift, T_ - 1);
  const int64_t last = tokens_.count() - 1 - T_;
  for (int b = 0; b < B; ++b) {
    if (windows[b] < 0 || windows[b] >= count_)
      fail("window {} is outside 0 .. {}", windows[b], count_ - 1);
    tokens_.read(std::min(shift + int64_t{windows[b]} * T_, last), T_ + 1, [&](int t, int32_t id) {
      if (t < T_) ids.data()[t * ids.stride(0) + b] = id;
      if (t > 0) targets.data()[(t - 1) * targets.stride(0) + b] = id;
    });
  }
}

int WindowSet::shift(uint64_t seed, int64_t epoch) const {
  return epoch == 1
             ? 0
             : static_cast<int>(stream_of(seed, epoch).below(kShift, static_cast<uint32_t>(T_)));
}

BatchOrder::BatchOrder(int windows, int B, uint64_t seed) : windows_(windows), seed_(seed) {
  if (B < 1) fail_usage("a batch of {} makes no sense; it must be at least 1", B);
  if (windows < B)
    fail_usage(
        "{} windows do not fill a batch of {}; give more text, or a smaller --batch, --accumulate "
        "or --seq",
        windows, B);
  pivots_.resize(static_cast<size_t>(rounds_for(windows)));
  batch_.resize(static_cast<size_t>(B));
}

Batch BatchOrder::batch(int64_t step) {
  if (step < 1) fail("step {} does not exist; the first is 1", step);
  begin_epoch((step - 1) / steps_per_epoch() + 1);
  const int first =
      static_cast<int>((step - 1) % steps_per_epoch()) * static_cast<int>(batch_.size());
  for (size_t b = 0; b < batch_.size(); ++b) batch_[b] = window_at(first + static_cast<int>(b));
  return {epoch_, batch_};
}

void BatchOrder::begin_epoch(int64_t epoch) {
  if (epoch == epoch_) return;
  epoch_ = epoch;
  const Philox random = stream_of(seed_, epoch);
  for (size_t round = 0; round < pivots_.size(); ++round)
    pivots_[round] =
        static_cast<int>(random.below(kPivots + round, static_cast<uint32_t>(windows_)));
}

/// Swap-or-not: each round pairs each window with a partner (their sum is the pivot, modulo the
/// number of windows) and swaps the pair if the pair's random bit is set.
int BatchOrder::window_at(int place) const {
  const Philox random = stream_of(seed_, epoch_);
  int window = place;
  for (size_t round = 0; round < pivots_.size(); ++round) {
    const int difference = pivots_[round] - window;
    const int partner = difference < 0 ? difference + windows_ : difference;
    const uint64_t pair =
        (uint64_t{round} << 32) | static_cast<uint32_t>(std::max(window, partner));
    if (random.block(pair)[0] >> 31) window = partner;
  }
  return window;
}

}  // namespace mmrec
