#include "train/data/windows.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <tuple>

#include "tests/common/expect_error.h"
#include "train/data/corpus.h"
#include "train/data/tokenizer.h"

namespace mmrec {
namespace {

using test::expect_error;

std::vector<int32_t> counting(int n) {
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

TEST(Windows, Count) {
  EXPECT_EQ(WindowSet(counting(5), 4, "the text").count(), 1);
  EXPECT_EQ(WindowSet(counting(8), 4, "the text").count(), 1);
  EXPECT_EQ(WindowSet(counting(9), 4, "the text").count(), 2);
  expect_error<UsageError>([] { WindowSet(counting(4), 4, "the training text"); },
                           {"the training text has 4 tokens", "needs 5", "--seq"});
  expect_error<UsageError>([] { WindowSet(counting(0), 4, "the training text"); }, {"0 tokens"});
  expect_error<UsageError>([] { WindowSet(counting(4), 0, "the text"); }, {"window of 0"});
}

TEST(Windows, TargetsAreTheNextTokensTimeMajor) {
  constexpr int T = 3, B = 2;
  const WindowSet windows(counting(14), T, "the text");
  int32_t ids[T * B], targets[T * B];
  windows.fill(std::vector{2, 0}, IntTensor(ids, {T, B}), IntTensor(targets, {T, B}));
  EXPECT_TRUE(std::ranges::equal(ids, std::vector{6, 0, 7, 1, 8, 2}));
  EXPECT_TRUE(std::ranges::equal(targets, std::vector{7, 1, 8, 2, 9, 3}));
}

/// The text ends before the last window has been shifted completely.
TEST(Windows, ShiftedWindowsStayWithinTheText) {
  constexpr int T = 3, B = 4;
  const WindowSet windows(counting(14), T, "the text");
  int32_t ids[T * B], targets[T * B];
  windows.fill(std::vector{0, 1, 2, 3}, IntTensor(ids, {T, B}), IntTensor(targets, {T, B}), 2);
  EXPECT_TRUE(std::ranges::equal(ids, std::vector{2, 5, 8, 10, 3, 6, 9, 11, 4, 7, 10, 12}));
  EXPECT_TRUE(std::ranges::equal(targets, std::vector{3, 6, 9, 11, 4, 7, 10, 12, 5, 8, 11, 13}));
}

TEST(Windows, EachLaterEpochHasItsOwnShift) {
  constexpr int T = 8, kEpochs = 4001;
  const WindowSet windows(counting(T + 1), T, "the text");
  std::vector<int> seen(T);
  for (int epoch = 2; epoch <= kEpochs; ++epoch)
    ++seen.at(static_cast<size_t>(windows.shift(42, epoch)));
  EXPECT_EQ(windows.shift(42, 1), 0);
  for (const int count : seen) EXPECT_NEAR(count, 500, 100) << "4.8 standard deviations";
  EXPECT_EQ(WindowSet(counting(2), 1, "the text").shift(42, 2), 0);
}

TEST(Windows, FillChecksItsArguments) {
  const WindowSet windows(counting(14), 3, "the text");
  int32_t ids[6], targets[6];
  const auto fill = [&](std::vector<int> which, int T, int B, int shift = 0) {
    windows.fill(which, IntTensor(ids, {T, B}), IntTensor(targets, {T, B}), shift);
  };
  expect_error([&] { fill({0, 1}, 2, 3); }, {"batch ids", "[3,2]"});
  expect_error([&] { fill({0, 1}, 3, 2, 3); }, {"shift of 3", "0 .. 2"});
  expect_error([&] { fill({0, 1}, 3, 2, -1); }, {"shift of -1"});
  expect_error([&] { fill({0, 4}, 3, 2); }, {"window 4", "0 .. 3"});
  expect_error([&] { fill({-1, 0}, 3, 2); }, {"window -1"});
}

TEST(Windows, TheSampleMakes126StepsAnEpoch) {
  const Corpus corpus = load_corpus("sample", 0.1);
  CharacterCounts counts;
  count_characters(corpus.train, "sample", counts);
  const WindowSet windows(Tokenizer(counts).encode(corpus.train, "sample"), 256, "the sample");
  EXPECT_EQ(windows.count(), 252);
  EXPECT_EQ(BatchOrder(windows.count(), 2, 1).steps_per_epoch(), 126);
}

std::vector<int> epoch_order(BatchOrder& order, int epoch) {
  std::vector<int> windows;
  for (int step = 1; step <= order.steps_per_epoch(); ++step) {
    const Batch batch = order.batch((epoch - 1) * order.steps_per_epoch() + step);
    EXPECT_EQ(batch.epoch, epoch);
    windows.insert(windows.end(), batch.windows.begin(), batch.windows.end());
  }
  return windows;
}

TEST(BatchOrder, EveryWindowOncePerEpochInANewOrder) {
  BatchOrder order(252, 2, 42);
  const std::vector<int> first = epoch_order(order, 1), second = epoch_order(order, 2);
  for (std::vector<int> epoch : {first, second}) {
    EXPECT_FALSE(std::ranges::is_sorted(epoch));
    std::ranges::sort(epoch);
    EXPECT_EQ(epoch, counting(252));
  }
  EXPECT_NE(first, second);
}

TEST(BatchOrder, DropsTheIncompleteBatch) {
  BatchOrder order(10, 3, 42);
  EXPECT_EQ(order.steps_per_epoch(), 3);
  std::vector<int> epoch = epoch_order(order, 1);
  std::ranges::sort(epoch);
  EXPECT_EQ(epoch.size(), 9u);
  EXPECT_EQ(std::ranges::adjacent_find(epoch), epoch.end());
  EXPECT_EQ(BatchOrder(1, 1, 42).batch(7).epoch, 7);
}

TEST(BatchOrder, DependsOnSeedAndStepOnly) {
  BatchOrder order(100, 4, 7), resumed(100, 4, 7), other(100, 4, 8);
  const std::vector<int> third = epoch_order(order, 3);
  EXPECT_EQ(epoch_order(resumed, 3), third);
  epoch_order(order, 1);
  EXPECT_EQ(epoch_order(order, 3), third);
  EXPECT_NE(epoch_order(other, 3), third);
}

/// Chi-squared test of the order of 4 windows in 24,000 epochs: 24 orders of 1000 each, 23 degrees
/// of freedom. A value of 64 is beyond chance (p = 1e-5).
TEST(BatchOrder, AllOrdersAreEquallyLikely) {
  constexpr int kEpochs = 24'000, kOrders = 24;
  BatchOrder order(4, 4, 42);
  std::map<std::vector<int>, int> seen;
  for (int epoch = 1; epoch <= kEpochs; ++epoch) ++seen[epoch_order(order, epoch)];
  EXPECT_EQ(seen.size(), static_cast<size_t>(kOrders));
  const double expected = static_cast<double>(kEpochs) / kOrders;
  double chi_squared = 0;
  for (const auto& [windows, count] : seen)
    chi_squared += (count - expected) * (count - expected) / expected;
  EXPECT_LT(chi_squared, 64);
}

/// A window of a stream.
struct Visit {
  int window;
  bool begins;
};

/// Returns what each stream reads in an epoch, and checks that the streams come in turn.
std::vector<std::vector<Visit>> read_streams(BatchOrder& order, int B, int epoch) {
  std::vector<std::vector<Visit>> streams(static_cast<size_t>(order.streams()));
  for (int step = 0; step < order.steps_per_epoch(); ++step) {
    const Batch batch = order.batch(int64_t{epoch - 1} * order.steps_per_epoch() + step + 1);
    EXPECT_EQ(batch.first_stream, step * B % order.streams());
    EXPECT_EQ(batch.begins.size(), static_cast<size_t>(B));
    for (int b = 0; b < B; ++b)
      streams.at(static_cast<size_t>(batch.first_stream + b))
          .push_back({batch.windows[b], batch.begins[b] != 0});
  }
  return streams;
}

TEST(BatchOrder, StreamsReadTheTextInOrderAndEveryWindowAtMostOnce) {
  for (const auto& [windows, B, walk] :
       {std::tuple(100, 4, 5), {101, 3, 7}, {64, 8, 2}, {10, 1, 10}, {12, 6, 5}, {9, 8, 8}}) {
    SCOPED_TRACE(fmt::format("{} windows, {} rows, walks of {}", windows, B, walk));
    BatchOrder order(windows, B, 42, walk);
    for (int epoch = 1; epoch <= 5; ++epoch) {
      std::set<int> seen;
      for (const std::vector<Visit>& stream : read_streams(order, B, epoch))
        for (size_t i = 0; i < stream.size(); ++i) {
          const auto& [window, begins] = stream[i];
          EXPECT_TRUE(seen.insert(window).second) << "window " << window << " twice";
          EXPECT_TRUE(window >= 0 && window < windows) << window;
          if (i == 0 || window == 0) {
            EXPECT_TRUE(begins) << i;
          } else if (!begins) {
            EXPECT_EQ(window, stream[i - 1].window + 1);
          }
        }
    }
  }
}

TEST(BatchOrder, FewWindowsAreLeftOverByStreams) {
  for (const int B : {1, 2, 6})
    for (const int walk : {2, 4, 16})
      for (int walks = 4 * B; walks < 200 * B; ++walks) {
        const BatchOrder order(walks * walk, B, 42, walk);
        EXPECT_LE(order.streams(), 32 * B);
        EXPECT_GE(order.steps_per_epoch() * B, 0.75 * walks * walk) << walks << " walks";
        if (walks >= 64 * B) {
          EXPECT_GE(order.steps_per_epoch() * B, 0.9 * walks * walk) << walks << " walks";
        }
      }
}

TEST(BatchOrder, WalksHaveTheirLengthAndDoNotBeginTogether) {
  constexpr int kRows = 6, kWalk = 4, kWindows = 5000;
  BatchOrder order(kWindows, kRows, 42, kWalk);
  const int turns = order.streams() / kRows;
  EXPECT_GE(turns, 25);
  int begins = 0, whole = 0, in_walk = 0;
  for (const std::vector<Visit>& stream : read_streams(order, kRows, 1)) {
    int length = 0;
    for (const Visit& visit : stream) {
      length = visit.begins ? 1 : length + 1;
      EXPECT_LE(length, kWalk);
      whole += length == kWalk;
    }
  }
  EXPECT_GE(whole, kWindows / kWalk - 3 * order.streams()) << "a stream cuts three walks at most";
  const int steps = order.steps_per_epoch();
  for (int first = turns; first + turns <= steps - kWalk * turns; first += turns, ++in_walk) {
    begins = 0;
    for (int step = first; step < first + turns; ++step)
      begins += static_cast<int>(std::ranges::count(order.batch(step + 1).begins, 1));
    EXPECT_NEAR(begins, order.streams() / kWalk, 0.1 * order.streams()) << "from step " << first;
  }
  EXPECT_GE(in_walk, kWalk) << "rounds of all streams were counted";
}

TEST(BatchOrder, EachEpochHasWalksOfItsOwn) {
  constexpr int kWindows = 40, kWalk = 10;
  BatchOrder order(kWindows, 1, 42, kWalk), again(kWindows, 1, 42, kWalk);
  std::set<int> beginnings;
  for (int epoch = 1; epoch <= 20; ++epoch)
    for (const std::vector<Visit>& stream : read_streams(order, 1, epoch))
      for (const Visit& visit : stream)
        if (visit.begins) beginnings.insert(visit.window % kWalk);
  EXPECT_GE(beginnings.size(), 7u) << "of ten places modulo a walk";
  EXPECT_EQ(epoch_order(again, 3), epoch_order(order, 3)) << "after other epochs, and at once";
}

TEST(BatchOrder, RefusesImpossibleArguments) {
  expect_error<UsageError>([] { BatchOrder(3, 4, 42); }, {"3 windows", "batch of 4", "--batch"});
  expect_error<UsageError>([] { BatchOrder(3, 0, 42); }, {"batch of 0"});
  expect_error([] { BatchOrder(3, 1, 42).batch(0); }, {"step 0"});
  expect_error<UsageError>([] { BatchOrder(3, 1, 42, 4); }, {"3 windows", "walk of 4", "--carry"});
  expect_error<UsageError>([] { BatchOrder(3, 3, 42, 2); },
                           {"walks of 2", "batch of 3", "--carry"});
}

}  // namespace
}  // namespace mmrec
