#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "bench/tune/space.h"

namespace mmrec::tune {

/// Searches for the fastest instances of a kernel at several shapes at once, with few tries. Usage:
///
///     for (auto instances = search.next(4); !instances.empty(); instances = search.next(4))
///       for (const Instance& instance : instances) search.tell(instance, its scores);
///
/// It starts with the defaults of all variants, instances known to be good elsewhere, and a random
/// point of each variant. Then it is a local search: it tries the neighbours of the best instances
/// so far, overall and at each shape. A neighbour differs in one parameter by one value. When no
/// neighbours are left, it tries trades (one parameter up, another one down), then the neighbours
/// of instances that are nearly as good (kPromising), and then ends.
class InstanceSearch {
 public:
  /// Neighbours of an instance are tried if its time is at most this multiple of the best one's.
  static constexpr double kPromising = 1.05;
  static constexpr int kRandomPoints = 1;  ///< random starting points per variant

  /// `weights`: the shapes' parts of the time. `seeds`: instances that are good elsewhere.
  InstanceSearch(std::vector<Space> spaces, std::vector<double> weights,
                 const std::vector<Instance>& seeds, uint64_t seed);
  /// Returns a search that tries all instances of the spaces in turn.
  static InstanceSearch grid(std::vector<Space> spaces, std::vector<double> weights);

  /// Returns up to `count` instances to try next; none at the end of the search.
  std::vector<Instance> next(size_t count);
  /// Reports the result of an instance: one time per shape, relative to a reference that is the
  /// same for all instances. nullopt: the instance cannot be used.
  void tell(const Instance& instance, const std::optional<std::vector<double>>& scores);

  /// The number of instances in the queue: next() would return them if no result added others.
  size_t left() const { return queue_.size(); }
  size_t tried() const { return results_.size(); }

 private:
  struct Proposal {
    size_t space;
    Point point;
    auto operator<=>(const Proposal&) const = default;
  };
  struct Result {
    Proposal proposal;
    std::vector<double> scores;
    double total;  ///< weighted sum of the scores
    /// whether its steps, and its trades, were added to the queue
    bool left = false, traded = false;
  };

  void add(size_t space, const Point& point);
  void add_all(size_t space, const std::vector<Point>& points);
  void extend();
  Instance instance(const Proposal& proposal) const {
    return spaces_[proposal.space].instance(proposal.point);
  }

  std::vector<Space> spaces_;
  std::vector<double> weights_;
  bool grid_ = false;
  std::vector<Proposal> queue_;  // next() takes from the front
  std::set<Proposal> known_;     // queued, returned or told
  std::map<Instance, Proposal> returned_;
  std::vector<Result> results_;
};

}  // namespace mmrec::tune
