#include "train/ranks/gradient_sum.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "runtime/flush_denormals.h"
#include "runtime/threads.h"
#include "support/counted.h"
#include "support/error.h"
#include "support/stopwatch.h"

namespace mmrec {

namespace {

/// into += other.
void add_values(const float* other, float* into, int64_t count) {
  for (int64_t i = 0; i < count; ++i) into[i] += other[i];
}

/// The same on all threads.
void add(const float* other, float* into, int64_t count) {
  constexpr int64_t kOfTask = 1 << 15;
  parallel_for(static_cast<int>((count + kOfTask - 1) / kOfTask), [&](int task) {
    const int64_t begin = task * kOfTask;
    add_values(other + begin, into + begin, std::min(kOfTask, count - begin));
  });
}

}  // namespace

GradientSum::Order GradientSum::parse_order(std::string_view name) {
  if (name == "tree") return Order::kTree;
  if (name == "fast") return Order::kFast;
  fail_usage("--allreduce {} makes no sense; it must be tree or fast", name);
}

GradientSum::GradientSum(const Tensor& gradients, const Chunks& chunks, int parts, Order order,
                         Ranks& ranks)
    : gradients_(gradients),
      parts_(parts),
      order_(order),
      ranks_(ranks),
      mine_(parts_of_rank(parts, ranks.rank(), ranks.size())) {
  if (ranks.size() > parts)
    fail_usage(
        "{} ranks cannot divide a step of {} among themselves; take fewer ranks, or give "
        "the "
        "step more parts: the same windows with a smaller --batch and --accumulate {} or more",
        ranks.size(), counted(parts, "part"), ranks.size());
  for (const auto& [begin, end] : chunks)
    chunks_.emplace_back().values =
        contiguous_span(gradients.rows(static_cast<int>(begin), static_cast<int>(end)));
  if (order == Order::kFast) return;
  nodes_ = nodes_within(parts, mine_);
  int levels = 0;
  for (const PartRange& node : nodes_) levels = std::max(levels, levels_below(node));
  arena_ = Arena::fitted([&](Arena& arena) {
    levels_.clear(), sums_.clear();
    for (int level = 0; level < levels; ++level)
      levels_.push_back(arena.tensor({gradients.size(0)}));
    if (!ranks.are_many()) return;
    for (size_t i = 0; i + 1 < nodes_.size(); ++i)
      sums_.push_back(arena.tensor({gradients.size(0)}));
    for (Chunk& chunk : chunks_) lay_out(chunk, arena);
  });
}

/// Decides who adds up which slice of the chunk, and where the others' sums go.
void GradientSum::lay_out(Chunk& chunk, Arena& arena) {
  constexpr int64_t kAligned = 16;
  chunk.slices.clear(), chunk.received.clear(), chunk.sends.clear(), chunk.receives.clear();
  const int R = ranks_.size(), rank = ranks_.rank();
  const auto n = static_cast<int64_t>(chunk.values.size());
  for (int r = 0; r < R; ++r) chunk.slices.push_back(n * r / R / kAligned * kAligned);
  chunk.slices.push_back(n);
  const auto slice_in = [&](std::span<float> sum, int r) {
    return sum.subspan(static_cast<size_t>(chunk.slices[static_cast<size_t>(r)]),
                       static_cast<size_t>(chunk.slice(r)));
  };
  const auto offset = static_cast<size_t>(chunk.values.data() - gradients_.data());
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const std::span<float> sum =
        i < sums_.size() ? contiguous_span(sums_[i]).subspan(offset, chunk.values.size())
                         : chunk.values;
    chunk.received.push_back({nodes_[i], slice_in(sum, rank).data()});
    for (int r = 0; r < R; ++r)
      if (r != rank) chunk.sends.push_back({r, slice_in(sum, r)});
  }
  for (int r = 0; r < R; ++r) {
    if (r == rank) continue;
    for (const PartRange& node : nodes_within(parts_, parts_of_rank(parts_, r, R))) {
      const Tensor place = arena.tensor({static_cast<int>(chunk.slice(rank))});
      chunk.received.push_back({node, place.data()});
      chunk.receives.push_back({r, contiguous_span(place)});
    }
  }
}

GradientSum::~GradientSum() {
  if (communication_.joinable()) finish();
}

size_t GradientSum::bytes(int64_t gradients, int parts) {
  return static_cast<size_t>(levels_below({0, parts})) * static_cast<size_t>(gradients) *
         sizeof(float);
}

void GradientSum::compute(const Compute& compute) {
  completed_ = 0;
  to_send_ = 0;
  if (order_ == Order::kFast) {
    for (int part = mine_.begin; part < mine_.end; ++part)
      compute_node({part, part + 1}, 0, compute);
    return;
  }
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (i > 0) set_zero(gradients_);
    compute_node(nodes_[i], 0, compute);
    if (i < sums_.size()) copy_values(gradients_, sums_[i]);
  }
}

/// Leaves the node's sum in the gradients, which are zero when it is called.
void GradientSum::compute_node(const PartRange& node, int level, const Compute& compute) {
  if (node.count() > 1) {
    const Tensor& first = levels_[static_cast<size_t>(level)];
    compute_node(first_half(node), level + 1, compute);
    copy_values(gradients_, first);
    set_zero(gradients_);
    compute_node(second_half(node), level + 1, compute);
    if (node.end < mine_.end) add(first.data(), gradients_.data(), gradients_.count());
    return;
  }
  if (node.end < mine_.end) return compute(node.begin, [](int) {});
  last_level_ = level;
  compute(node.begin, [this](int count) { complete(count); });
  complete(static_cast<int>(chunks_.size()));
}

void GradientSum::complete(int count) {
  for (; completed_ < count; ++completed_) {
    const std::span<float> chunk = chunks_[static_cast<size_t>(completed_)].values;
    const auto offset = chunk.data() - gradients_.data();
    for (int level = last_level_ - 1; level >= 0; --level)
      add(levels_[static_cast<size_t>(level)].data() + offset, chunk.data(), std::ssize(chunk));
  }
  if (!ranks_.are_many()) return;
  to_send_ = completed_;
  to_send_.notify_one();
  if (!communication_.joinable()) communication_ = std::thread([this] { communicate(); });
}

void GradientSum::finish() {
  if (!ranks_.are_many()) return;
  const Stopwatch time;
  waits_ = true;
  last_level_ = 0;
  complete(static_cast<int>(chunks_.size()));
  communication_.join();
  waits_ = false;
  times_.waited += time.seconds();
  ++times_.steps;
}

void GradientSum::communicate() {
  constexpr auto kPause = std::chrono::microseconds(100);  // beside the backward pass
  const FlushDenormals as_in_parallel_loops;
  const auto chunk = [&](int i) -> Chunk& { return chunks_[static_cast<size_t>(i)]; };
  const int count = static_cast<int>(chunks_.size());
  std::optional<Ranks::Wait> wait;
  Stopwatch under_way;
  for (int begun = 0, added = 0, done = 0; done < count;) {
    const int before = begun + added + done;
    for (; begun < to_send_; ++begun) begin(chunk(begun));
    for (; added < begun && chunk(added).pending->is_done(); ++added) add_up(chunk(added));
    for (; done < added && chunk(done).pending->is_done(); ++done) {
    }
    if (begun + added + done > before) continue;
    if (waits_) {
      if (!wait) wait.emplace(ranks_);
      wait->pause();
    } else if (begun == done) {
      times_.under_way += under_way.seconds();
      to_send_.wait(begun);
      under_way = {};
    } else {
      std::this_thread::sleep_for(kPause);
    }
  }
  times_.under_way += under_way.seconds();
}

int GradientSum::tag_of(const Chunk& chunk) const {
  return static_cast<int>(2 * (&chunk - chunks_.data()));
}

void GradientSum::begin(Chunk& chunk) {
  chunk.pending = order_ == Order::kFast
                      ? ranks_.add(chunk.values)
                      : ranks_.exchange(chunk.sends, chunk.receives, tag_of(chunk));
}

void GradientSum::add_up(Chunk& chunk) {
  if (order_ == Order::kFast) return;
  const float* const sum = slice_of({0, parts_}, chunk);
  const int rank = ranks_.rank();
  float* const mine = chunk.values.data() + chunk.slices[static_cast<size_t>(rank)];
  if (sum != mine) std::copy_n(sum, chunk.slice(rank), mine);
  chunk.pending = ranks_.share(chunk.values, chunk.slices, tag_of(chunk) + 1);
}

float* GradientSum::slice_of(const PartRange& node, Chunk& chunk) {
  const auto found = std::ranges::find(chunk.received, node, &Chunk::Received::node);
  if (found != chunk.received.end()) return found->slice;
  float* const first = slice_of(first_half(node), chunk);
  add_values(slice_of(second_half(node), chunk), first, chunk.slice(ranks_.rank()));
  return first;
}

}  // namespace mmrec
