#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "bench/tune/space.h"

namespace mmrec::tune {

/// Looks for the instances of a kernel that take the least time, at several shapes at once, by
/// trying few of them. It is asked for what to try next, and told what came out:
///
///     for (auto instances = search.next(4); !instances.empty(); instances = search.next(4))
///       for (const Instance& instance : instances) search.tell(instance, scores of it);
///
/// First come the defaults of all variants, what is known to be good elsewhere, and a random point
/// of each variant. Then the best so far, overall and at each shape, is left in all directions, a
/// step at a time: each neighbour differs in one parameter by one value. When no neighbour of the
/// best is untried, those that trade one parameter for another follow, then the neighbours of what
/// is nearly as good (kPromising), and then it ends.
class InstanceSearch {
 public:
  /// How far from the best something may be to be worth leaving from.
  static constexpr double kPromising = 1.05;
  static constexpr int kRandomPoints = 1;  ///< of each variant, to begin with

  /// `weights` are the shapes' parts of the time, and `seeds` instances that are good elsewhere.
  InstanceSearch(std::vector<Space> spaces, std::vector<double> weights,
                 const std::vector<Instance>& seeds, uint64_t seed);
  /// All instances of the spaces in turn, whatever comes out.
  static InstanceSearch grid(std::vector<Space> spaces, std::vector<double> weights);

  /// At most `count` instances that have not been returned yet; none when it is over.
  std::vector<Instance> next(size_t count);
  /// Times of an instance, a shape each, over those of one that is the same for all; none where it
  /// is no candidate.
  void tell(const Instance& instance, const std::optional<std::vector<double>>& scores);

  /// Instances that next() would go through if the search ended with those that are known now.
  size_t left() const { return queue_.size(); }
  size_t tried() const { return results_.size(); }

 private:
  struct Candidate {
    size_t space;
    Point point;
    auto operator<=>(const Candidate&) const = default;
  };
  struct Result {
    Candidate candidate;
    std::vector<double> scores;
    double total;                       ///< of the scores, weighted
    bool left = false, traded = false;  ///< whether its neighbours have been put into the queue
  };

  void add(size_t space, const Point& point);
  void add_all(size_t space, const std::vector<Point>& points);
  void extend();
  Instance instance(const Candidate& candidate) const {
    return spaces_[candidate.space].instance(candidate.point);
  }

  std::vector<Space> spaces_;
  std::vector<double> weights_;
  bool grid_ = false;
  std::vector<Candidate> queue_;  // what next() returns, from the front
  std::set<Candidate> known_;     // queued, returned or told
  std::map<Instance, Candidate> returned_;
  std::vector<Result> results_;
};

}  // namespace mmrec::tune
