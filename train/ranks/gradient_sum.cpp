#include "train/ranks/gradient_sum.h"

#include <algorithm>

#include "runtime/threads.h"
#include "support/error.h"

namespace mmrec {

namespace {

/// into += other, on all threads.
void add(const float* other, float* into, int64_t count) {
  constexpr int64_t kOfTask = 1 << 15;
  parallel_for(static_cast<int>((count + kOfTask - 1) / kOfTask), [&](int task) {
    const int64_t begin = task * kOfTask, end = std::min(count, begin + kOfTask);
    for (int64_t i = begin; i < end; ++i) into[i] += other[i];
  });
}

std::span<float> values(const Tensor& tensor) {
  return {tensor.data(), static_cast<size_t>(tensor.count())};
}

}  // namespace

GradientSum::Order GradientSum::parse_order(std::string_view name) {
  if (name == "tree") return Order::kTree;
  if (name == "fast") return Order::kFast;
  fail_usage("--allreduce {} makes no sense; it must be tree or fast", name);
}

GradientSum::GradientSum(const Tensor& gradients, int parts, Order order, Ranks& ranks)
    : gradients_(gradients),
      parts_(parts),
      order_(order),
      ranks_(ranks),
      mine_(parts_of_rank(parts, ranks.rank(), ranks.size())) {
  if (ranks.size() > parts)
    fail_usage(
        "{} ranks cannot divide a step of {} part{} among themselves; take fewer ranks, or give "
        "the "
        "step more parts: the same windows with a smaller --batch and --accumulate {} or more",
        ranks.size(), parts, parts == 1 ? "" : "s", ranks.size());
  if (order == Order::kFast) return;
  nodes_ = nodes_within(parts, mine_);
  int levels = 0;
  for (const PartRange& node : nodes_) levels = std::max(levels, levels_below(node));
  const int64_t n = gradients.count();
  const int R = ranks.size();
  for (int r = 0; r <= R; ++r) slices_.push_back(n * r / R / 16 * 16);
  slices_.back() = n;
  const auto begin = [&](int r) { return static_cast<size_t>(slices_[static_cast<size_t>(r)]); };
  const size_t slice = begin(ranks.rank() + 1) - begin(ranks.rank());
  arena_ = Arena::fitted([&](Arena& arena) {
    levels_.clear(), sums_.clear(), received_.clear(), sends_.clear(), receives_.clear();
    const int count = static_cast<int>(n);
    for (int level = 0; level < levels; ++level) levels_.push_back(arena.tensor({count}));
    if (R == 1) return;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      sums_.push_back(arena.tensor({count}));
      for (int r = 0; r < R; ++r)
        if (r != ranks.rank())
          sends_.push_back({r, values(sums_[i]).subspan(begin(r), begin(r + 1) - begin(r))});
    }
    for (int r = 0; r < R; ++r) {
      const std::vector<PartRange> theirs = nodes_within(parts, parts_of_rank(parts, r, R));
      for (size_t i = 0; i < theirs.size(); ++i) {
        if (r == ranks.rank()) {
          received_.push_back({theirs[i], sums_[i].data() + begin(r)});
          continue;
        }
        const Tensor place = arena.tensor({static_cast<int>(slice)});
        received_.push_back({theirs[i], place.data()});
        receives_.push_back({r, values(place)});
      }
    }
  });
}

size_t GradientSum::bytes(int64_t gradients, int parts) {
  return static_cast<size_t>(levels_below({0, parts})) * static_cast<size_t>(gradients) *
         sizeof(float);
}

void GradientSum::compute(const std::function<void(int)>& compute) {
  if (order_ == Order::kFast) {
    for (int part = mine_.begin; part < mine_.end; ++part) compute(part);
    return;
  }
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (i > 0) set_zero(gradients_);
    compute_node(nodes_[i], 0, compute);
    if (ranks_.are_many()) copy_values(gradients_, sums_[i]);
  }
}

/// Leaves the node's sum in the gradients, which are zero when it is called.
void GradientSum::compute_node(const PartRange& node, int level,
                               const std::function<void(int)>& compute) {
  if (node.count() == 1) return compute(node.begin);
  compute_node(first_half(node), level + 1, compute);
  const Tensor& first = levels_[static_cast<size_t>(level)];
  copy_values(gradients_, first);
  set_zero(gradients_);
  compute_node(second_half(node), level + 1, compute);
  add(first.data(), gradients_.data(), gradients_.count());
}

void GradientSum::add_ranks() {
  if (!ranks_.are_many()) return;
  if (order_ == Order::kFast) return ranks_.add(values(gradients_));
  ranks_.exchange(sends_, receives_);
  const float* const sum = slice_of({0, parts_});
  const auto rank = static_cast<size_t>(ranks_.rank());
  std::copy(sum, sum + (slices_[rank + 1] - slices_[rank]), gradients_.data() + slices_[rank]);
  ranks_.share(values(gradients_), slices_);
}

float* GradientSum::slice_of(const PartRange& node) {
  const auto found = std::ranges::find(received_, node, &Received::node);
  if (found != received_.end()) return found->slice;
  float* const first = slice_of(first_half(node));
  const auto rank = static_cast<size_t>(ranks_.rank());
  add(slice_of(second_half(node)), first, slices_[rank + 1] - slices_[rank]);
  return first;
}

}  // namespace mmrec
