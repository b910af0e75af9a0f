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
int rounds_for(int walks) { return 32 + 4 * std::bit_width(static_cast<unsigned>(walks)); }

// Counters in an epoch's random stream. The counters below are used for the pairs' bits.
constexpr uint64_t kPivots = uint64_t{1} << 63, kShift = kPivots - 1, kFirstWindow = kPivots - 2;

/// Every epoch has its own random stream.
Philox stream_of(uint64_t seed, int64_t epoch) {
  return Philox(seed, rng_stream(Stream::kShuffle, static_cast<uint64_t>(epoch)));
}

/// Returns the steps from a window of a stream to its next one, for a number of walks per row:
/// about 30, or fewer for a short text. More steps would need more states, of older weights. The
/// streams share the walks with little left over.
int turns_for(int walks) {
  constexpr int kMost = 32;
  const int walks_per_stream = std::max(1, (walks + kMost - 1) / kMost);
  return std::max(1, walks / walks_per_stream);
}

}  // namespace

WindowSet::WindowSet(Tokens tokens, int T, std::string_view what)
    : tokens_(std::move(tokens)), T_(T) {
  if (T < 1) fail_usage("a window of {} tokens makes no sense; it must be at least 1", T);
  if (tokens_.count() <= T)
    fail_usage("{} has {} tokens, a window of {} needs {}; give more text or a smaller --seq", what,
               tokens_.count(), T, int64_t{T} + 1);
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

BatchOrder::BatchOrder(int windows, int B, uint64_t seed, int walk)
    : windows_(windows), walk_(walk), seed_(seed) {
  if (B < 1) fail_usage("a batch of {} makes no sense; it must be at least 1", B);
  if (walk < 1) fail_usage("a walk of {} windows makes no sense; it must be at least 1", walk);
  if (windows < walk)
    fail_usage(
        "{} windows are fewer than a walk of {}; give more text, or a smaller --carry or "
        "--seq",
        windows, walk);
  walks_ = windows / walk;
  if (walks_ * walk < B)
    fail_usage(
        "{} windows{} do not fill a batch of {}; give more text, or a smaller --batch, "
        "--accumulate or --seq{}",
        walks_ * walk, walk > 1 ? fmt::format(" in walks of {}", walk) : "", B,
        walk > 1 ? " or --carry" : "");
  turns_ = walk > 1 ? turns_for(walks_ / B) : 1;
  streams_ = B * turns_;
  pivots_.resize(static_cast<size_t>(rounds_for(walks_)));
  batch_.resize(static_cast<size_t>(B));
  if (walk > 1) begins_.resize(static_cast<size_t>(B));
}

Batch BatchOrder::batch(int64_t step) {
  if (step < 1) fail("step {} does not exist; the first is 1", step);
  begin_epoch((step - 1) / steps_per_epoch() + 1);
  const int step_of_epoch = static_cast<int>((step - 1) % steps_per_epoch());
  const int B = static_cast<int>(batch_.size());
  if (walk_ > 1)
    choose_walking(step_of_epoch);
  else
    for (int b = 0; b < B; ++b) batch_[b] = walk_at(step_of_epoch * B + b);
  return {epoch_, batch_, begins_, step_of_epoch % turns_ * B};
}

/// Stream k reads the windows k*S .. k*S+S-1 of the order. It begins near a k-th part of a walk and
/// takes what lies before that at the end of the epoch. A walk that is cut there, or by the end of
/// a stream's part, begins anew; so does one that comes to the beginning of the text. (The text's
/// last window, which a shift moves back, gives its row a few tokens twice: too rare to matter.)
void BatchOrder::choose_walking(int step) {
  const int S = steps_per_epoch() / turns_, turn = step / turns_;
  const auto B = static_cast<int64_t>(batch_.size());
  for (int64_t b = 0; b < B; ++b) {
    const int64_t stream = step % turns_ * B + b, wanted = stream * walk_ / streams_,
                  at_start = stream * S % walk_, offset = (wanted - at_start + walk_) % walk_;
    const auto place_of_part = static_cast<int>((turn + offset) % S);
    const int place = static_cast<int>(stream) * S + place_of_part;
    const int64_t window =
        (int64_t{first_window_} + int64_t{walk_at(place / walk_)} * walk_ + place % walk_) %
        windows_;
    batch_[b] = static_cast<int>(window);
    begins_[b] = turn == 0 || place_of_part == 0 || place % walk_ == 0 || window == 0;
  }
}

void BatchOrder::begin_epoch(int64_t epoch) {
  if (epoch == epoch_) return;
  epoch_ = epoch;
  const Philox random = stream_of(seed_, epoch);
  for (size_t round = 0; round < pivots_.size(); ++round)
    pivots_[round] = static_cast<int>(random.below(kPivots + round, static_cast<uint32_t>(walks_)));
  if (walk_ > 1)
    first_window_ = static_cast<int>(random.below(kFirstWindow, static_cast<uint32_t>(windows_)));
}

/// Swap-or-not: each round pairs each walk with a partner (their sum is the pivot, modulo the
/// number of walks) and swaps the pair if the pair's random bit is set.
int BatchOrder::walk_at(int place) const {
  const Philox random = stream_of(seed_, epoch_);
  int walk = place;
  for (size_t round = 0; round < pivots_.size(); ++round) {
    const int difference = pivots_[round] - walk;
    const int partner = difference < 0 ? difference + walks_ : difference;
    const uint64_t pair = (uint64_t{round} << 32) | static_cast<uint32_t>(std::max(walk, partner));
    if (random.block(pair)[0] >> 31) walk = partner;
  }
  return walk;
}

}  // namespace mmrec
