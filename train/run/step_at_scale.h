#pragma once

#include <algorithm>
#include <string>
#include <vector>

namespace mmrec {

/// A way from one node to the others, of which each has one.
struct Link {
  double bandwidth = 0;  ///< bytes/s each way, headers included
  double delay = 0;      ///< s, one way
};

/// Parses --network: RATE,DELAY such as 25Gbps,20us. Throws a UsageError for anything else.
Link parse_network(const std::string& text);

/// What communication costs beside the bytes; the defaults are those of Open MPI and TCP.
struct Overheads {
  /// part of a link's rate that headers of Ethernet, IP and TCP leave, in packets of 1500 bytes,
  /// and the acknowledgements, one for two packets that come the other way
  double payload = 1448. / (1538 + 90. / 2);
  /// bytes from which on a message is announced, and sent when the receiver has asked for it
  double announced = 65536;
  double notice = 60e-6;       ///< s until MPI is asked for what has come, see GradientSum
  double message_work = 3e-6;  ///< s of a core, for a message
  double byte_work = 0.15e-9;  ///< s of a core, for each byte sent or got through a network
  /// of a core, while sums are under way beside a pass: each 170 us MPI is asked for 7 us
  double asking = 7. / 170;
};

/// What a training step consists of, for any number of ranks. Times are those of a rank, in
/// seconds, with as many threads as it has.
struct StepTerms {
  int parts = 1;               ///< of a step; the ranks divide them among themselves
  std::vector<double> part;    ///< forward and backward pass of a rank's only part, sorted samples
  double further_part = 0;     ///< of each part more
  double optimizer = 0;        ///< on all parameters
  double whole_optimizer = 0;  ///< what of it a sharded one does on all of them, too
  bool has_tree = true;        ///< GradientSum::Order::kTree
  bool shards_optimizer = false;
  /// The array of gradients, in the order in which the backward pass completes it: bytes, and the
  /// share of a part's time after which they are complete.
  struct Chunk {
    double bytes, completed;
  };
  std::vector<Chunk> chunks;

  int ranks_per_node = 1;
  int threads = 1;    ///< of a rank
  Link network = {};  ///< between nodes; unused if all ranks are on one
  Overheads overheads = {};
  double copying = 0;  ///< bytes/s from rank to rank on a node, of all of its ranks together
  double adding = 0;   ///< s of a core, for each byte of gradients that is added to others

  /// Returns the median of what the slowest of so many ranks takes for a part: all wait for it.
  double slowest(int ranks) const;
  double bytes() const;  ///< of all gradients
};

/// What a step takes with so many ranks. Seconds and bytes.
struct StepAtScale {
  int ranks = 1;
  double computing = 0;      ///< the passes of the rank that has the most parts
  double communicating = 0;  ///< what all communication takes if nothing is computed meanwhile
  double exposed = 0;        ///< the part of it that the step waits for
  double optimizer = 0;
  double step = 0;
  double sent = 0;        ///< from each rank
  double efficiency = 1;  ///< tokens/s a rank, against those of one rank that has the same threads

  /// Returns the share of communicating that takes no time of the step.
  double hidden() const {
    return communicating > 0 ? std::max(0., 1 - exposed / communicating) : 0;
  }
};

/// Simulates a step: a chunk travels from when it is complete on, and after those before it. First
/// each rank sends of it a slice to each other one, which adds them up, and then the sum of its own
/// slice.
StepAtScale step_at_scale(const StepTerms& terms, int ranks);

/// Returns the bytes that a rank has for adding up gradients of so many bytes, beside them: levels
/// of the tree, further nodes' sums, and what the others send. The most of all ranks.
double sum_bytes(double gradients, int parts, int ranks, bool has_tree);

}  // namespace mmrec
