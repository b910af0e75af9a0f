#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/arena.h"
#include "runtime/tensor.h"
#include "train/ranks/parts.h"
#include "train/ranks/ranks.h"

namespace mmrec {

/// Adds up the gradients of a step's parts, which the ranks divide among themselves, in the tree of
/// parts.h: the same bits for any number of ranks. Each rank sends its nodes' sums to the ranks
/// that add them up, each in its slices of the array, and all get all slices.
///
/// The array is cut into chunks, in the order in which a backward pass completes them. In the last
/// of a rank's parts a thread of its own adds up each chunk with the other ranks as soon as it is
/// complete, while the pass goes on.
class GradientSum {
 public:
  /// How the ranks' sums are added. kTree: as above. kFast: each rank adds its parts one after the
  /// other, and MPI adds the ranks' sums: other roundings with another number of ranks.
  enum class Order { kTree, kFast };
  /// Returns the order of a name, tree or fast. Throws a UsageError for another name.
  static Order parse_order(std::string_view name);

  /// Parts [begin, end) of the gradients' array, in the order in which they are complete.
  using Chunks = std::vector<std::pair<int64_t, int64_t>>;
  /// To be told that the first `count` chunks are complete, or more than that.
  using ChunksDone = std::function<void(int count)>;
  /// Adds the gradients of a part to those that there are.
  using Compute = std::function<void(int part, const ChunksDone& done)>;

  /// gradients: the flat array [n] into which parts are computed. Throws a UsageError if there are
  /// more ranks than parts.
  GradientSum(const Tensor& gradients, const Chunks& chunks, int parts, Order order, Ranks& ranks);
  ~GradientSum();
  GradientSum(const GradientSum&) = delete;
  GradientSum& operator=(const GradientSum&) = delete;

  /// Computes this rank's parts. The gradients are zero when it is called, and when `compute` is,
  /// or they hold the rank's earlier parts (kFast). One process alone allocates nothing.
  void compute(const Compute& compute);
  /// To be called on all ranks after compute(), also if that has thrown on some of them: then the
  /// gradients are of no use. Else the sum of all parts is in them.
  void finish();

  /// Seconds in which sums were under way, and in which this rank only waited for them: the rest is
  /// hidden behind the backward pass.
  struct Times {
    int64_t steps = 0;
    double under_way = 0, waited = 0;
    /// Returns the share of under_way that is hidden; 0 for parts so short that waiting is longer.
    double hidden() const { return under_way > 0 ? std::max(0., 1 - waited / under_way) : 0; }
  };
  const Times& times() const { return times_; }

  PartRange mine() const { return mine_; }
  size_t bytes() const { return arena_.used(); }
  /// Returns the bytes() of one process alone, for so many gradients: one more array for each level
  /// of the tree.
  static size_t bytes(int64_t gradients, int parts);

 private:
  struct Chunk {
    std::span<float> values;      // of the gradients
    std::vector<int64_t> slices;  // where each rank's begins, in `values`
    struct Received {
      PartRange node;
      float* slice;
    };
    std::vector<Received> received;  // this rank's slice of all ranks' nodes
    std::vector<Ranks::Transfer> sends, receives;
    std::unique_ptr<Ranks::Pending> pending;

    int64_t slice(int rank) const {
      return slices[static_cast<size_t>(rank) + 1] - slices[static_cast<size_t>(rank)];
    }
  };

  void lay_out(Chunk& chunk, Arena& arena);
  void compute_node(const PartRange& node, int level, const Compute& compute);
  /// Adds the first halves that wait for the last part to it, in the chunks before `count`, and
  /// lets them be sent.
  void complete(int count);
  /// Adds up the chunks as they are complete: the other thread.
  void communicate();
  void begin(Chunk& chunk);
  /// The first of a chunk's two exchanges.
  int tag_of(const Chunk& chunk) const;
  /// Adds up the slice that the others have sent, and begins to share it.
  void add_up(Chunk& chunk);
  /// Returns the sum of a node in this rank's slice: received, or of its halves.
  float* slice_of(const PartRange& node, Chunk& chunk);

  Tensor gradients_;
  int parts_;
  Order order_;
  Ranks& ranks_;
  PartRange mine_;
  Arena arena_;
  std::vector<Tensor> levels_;  // first halves that wait for their second ones
  std::vector<PartRange> nodes_;
  std::vector<Tensor> sums_;  // of the nodes but the last, with several ranks
  std::vector<Chunk> chunks_;
  int last_level_ = 0;               // of the last part in its node's tree
  int completed_ = 0;                // chunks
  std::atomic<int> to_send_ = 0;     // chunks that the other thread may take
  std::atomic<bool> waits_ = false;  // this rank has nothing else to do
  std::thread communication_;
  Times times_;
};

}  // namespace mmrec
