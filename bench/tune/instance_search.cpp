#include "bench/tune/instance_search.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "support/error.h"

namespace mmrec::tune {

InstanceSearch::InstanceSearch(std::vector<Space> spaces, std::vector<double> weights,
                               const std::vector<Instance>& seeds, uint64_t seed)
    : spaces_(std::move(spaces)), weights_(std::move(weights)) {
  for (size_t i = 0; i < spaces_.size(); ++i) add(i, spaces_[i].defaults());
  for (const Instance& instance : seeds)
    for (size_t i = 0; i < spaces_.size(); ++i)
      if (spaces_[i].variant == instance.variant) add(i, spaces_[i].nearest(instance));
  for (size_t i = 0; i < spaces_.size(); ++i)
    for (int draw = 0; draw < kRandomPoints; ++draw)
      add(i, spaces_[i].random(seed, i * kRandomPoints + static_cast<size_t>(draw)));
}

InstanceSearch InstanceSearch::grid(std::vector<Space> spaces, std::vector<double> weights) {
  InstanceSearch search({}, std::move(weights), {}, 0);
  search.spaces_ = std::move(spaces);
  search.grid_ = true;
  for (size_t i = 0; i < search.spaces_.size(); ++i) search.add_all(i, search.spaces_[i].grid());
  return search;
}

void InstanceSearch::add(size_t space, const Point& point) {
  const auto& sensible = spaces_[space].sensible;
  if (known_.insert({space, point}).second && (!sensible || sensible(instance({space, point}))))
    queue_.push_back({space, point});
}

void InstanceSearch::add_all(size_t space, const std::vector<Point>& points) {
  for (const Point& point : points) add(space, point);
}

std::vector<Instance> InstanceSearch::next(size_t count) {
  if (queue_.empty() && !grid_) extend();
  std::vector<Instance> instances;
  const auto end = queue_.begin() + static_cast<std::ptrdiff_t>(std::min(count, queue_.size()));
  for (auto proposal = queue_.begin(); proposal != end; ++proposal) {
    instances.push_back(instance(*proposal));
    returned_.emplace(instances.back(), *proposal);
  }
  queue_.erase(queue_.begin(), end);
  return instances;
}

void InstanceSearch::tell(const Instance& instance,
                          const std::optional<std::vector<double>>& scores) {
  if (!scores) return;
  const auto proposal = returned_.find(instance);
  if (proposal == returned_.end() || scores->size() != weights_.size())
    fail("the search has not asked for {}", instance.string());
  results_.push_back({proposal->second, *scores,
                      std::inner_product(scores->begin(), scores->end(), weights_.begin(), 0.)});
}

/// Adds neighbours of the best instances to the queue.
void InstanceSearch::extend() {
  // First the steps of the best instance overall and of the best at each shape, then their trades.
  // Last, the steps of instances that are nearly as good.
  std::vector<Result*> best;
  const auto add_best = [&](const auto& score) {
    const auto least = std::ranges::min_element(results_, {}, score);
    if (least != results_.end()) best.push_back(&*least);
  };
  add_best([](const Result& result) { return result.total; });
  for (size_t shape = 0; shape < weights_.size(); ++shape)
    add_best([&](const Result& result) { return result.scores[shape]; });
  const size_t bests = best.size();
  if (bests == 0) return;
  const double least = best.front()->total;
  for (Result& result : results_)
    if (result.total <= kPromising * least) best.push_back(&result);

  const auto extend_by = [&](Result& result, bool Result::*done, const auto& neighbours) {
    if (!std::exchange(result.*done, true))
      add_all(result.proposal.space,
              neighbours(spaces_[result.proposal.space], result.proposal.point));
  };
  const auto steps = [](const Space& space, const Point& point) { return space.steps(point); };
  const auto trades = [](const Space& space, const Point& point) { return space.trades(point); };
  for (size_t i = 0; i < bests && queue_.empty(); ++i) extend_by(*best[i], &Result::left, steps);
  for (size_t i = 0; i < bests && queue_.empty(); ++i) extend_by(*best[i], &Result::traded, trades);
  for (size_t i = bests; i < best.size() && queue_.empty(); ++i)
    extend_by(*best[i], &Result::left, steps);
}

}  // namespace mmrec::tune
