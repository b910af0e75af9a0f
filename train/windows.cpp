#include "train/windows.h"

#include <numeric>
#include <utility>

#include "runtime/error.h"
#include "runtime/rng.h"

namespace mmrec {
namespace {}  // namespace

WindowSet::WindowSet(std::vector<int32_t> tokens, int T, std::string_view what) : tokens_(std::move(tokens)), T_(T) {
  if (T < 1) fail_usage("a window of {} tokens makes no sense; it must be at least 1", T);
  const size_t needed = static_cast<size_t>(T) + 1;
  if (tokens_.size() < needed)
    fail_usage("{} has {} characters, a window of {} needs {}; give more text or a smaller --seq", what, tokens_.size(), T, needed);
  count_ = static_cast<int>((tokens_.size() - 1) / static_cast<size_t>(T));
}

void WindowSet::fill(std::span<const int> windows, const IntTensor& ids, const IntTensor& targets) const {
  const int B = static_cast<int>(windows.size());
  check_shape("batch ids", ids, {T_, B});
  check_shape("batch targets", targets, {T_, B});
  for (int b = 0; b < B; ++b) {
    if (windows[b] < 0 || windows[b] >= count_) fail("window {} is outside 0 .. {}", windows[b], count_ - 1);
    const int32_t* token = tokens_.data() + static_cast<size_t>(windows[b]) * static_cast<size_t>(T_);
    for (int t = 0; t < T_; ++t) {
      ids.data()[t * ids.stride(0) + b] = token[t];
      targets.data()[t * targets.stride(0) + b] = token[t + 1];
    }
  }
}

BatchOrder::BatchOrder(int windows, int B, uint64_t seed) : B_(B), seed_(seed), order_(static_cast<size_t>(windows)) {
  if (B < 1) fail_usage("a batch of {} makes no sense; it must be at least 1", B);
  if (windows < B) fail_usage("{} windows do not fill a batch of {}; give more text, or a smaller --batch, --accumulate or --seq", windows, B);
}

Batch BatchOrder::batch(int64_t step) {
  if (step < 1) fail("step {} does not exist; the first is 1", step);
  const int epoch = static_cast<int>((step - 1) / steps_per_epoch()) + 1;
  const size_t place = static_cast<size_t>((step - 1) % steps_per_epoch());
  if (epoch != epoch_) shuffle(epoch);
  const size_t B = static_cast<size_t>(B_);
  return {epoch, std::span(order_).subspan(place * B, B)};
}

/// Fisher-Yates; every epoch has a stream of its own.
void BatchOrder::shuffle(int epoch) {
  const Philox random(seed_, rng_stream(Stream::kShuffle, static_cast<uint64_t>(epoch)));
  std::iota(order_.begin(), order_.end(), 0);
  for (size_t i = order_.size() - 1; i > 0; --i) std::swap(order_[i], order_[random.below(i, static_cast<uint32_t>(i + 1))]);
  epoch_ = epoch;
}

}  // namespace mmrec
