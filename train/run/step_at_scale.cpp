#include "train/run/step_at_scale.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <initializer_list>
#include <optional>
#include <queue>
#include <string_view>
#include <utility>

#include "support/error.h"
#include "support/parse_number.h"
#include "train/ranks/parts.h"

namespace mmrec {

namespace {

/// Parses a number and its unit.
std::optional<double> with_unit(std::string_view text,
                                std::initializer_list<std::pair<std::string_view, double>> units) {
  const size_t end = std::min(text.find_first_not_of("0123456789."), text.size());
  const std::optional<double> number = parse_number<double>(text.substr(0, end));
  for (const auto& [unit, factor] : units)
    if (number && text.substr(end) == unit) return *number * factor;
  return std::nullopt;
}

/// Who communicates with whom.
struct Group {
  Group(const StepTerms& terms, int ranks)
      : terms(terms), ranks(ranks), on_node(std::min(terms.ranks_per_node, ranks)) {}

  bool has_network() const { return ranks > on_node; }
  /// Between a message's sending and its being noticed.
  double one_way() const {
    return (has_network() ? terms.network.delay : 0) + terms.overheads.notice;
  }

  const StepTerms& terms;
  int ranks, on_node;
};

/// A message of `bytes` from each rank to each of the others.
struct Exchange {
  Exchange(const Group& group, double bytes, int messages) {
    const double others = group.ranks - 1, elsewhere = group.ranks - group.on_node;
    sent = others * bytes;
    const Overheads& overheads = group.terms.overheads;
    const double rate = overheads.payload * group.terms.network.bandwidth;
    const double link = group.has_network() ? group.on_node * elsewhere * bytes / rate : 0,
                 copies = group.on_node * (group.on_node - 1) * bytes / group.terms.copying;
    work = others * messages * overheads.message_work +
           2 * elsewhere * bytes * overheads.byte_work + (group.on_node > 1 ? copies : 0);
    busy = std::max(link, work);
    delay = (bytes > overheads.announced ? 3 : 1) * group.one_way();
  }
  double time() const { return busy + delay; }

  double sent = 0;
  double busy = 0;   ///< the link, or the thread that communicates
  double work = 0;   ///< of a core
  double delay = 0;  ///< beside that, in which others may use the link
};

/// Calls with each rank's nodes of the tree. Without a tree a rank's parts are one sum.
template <class Visit>
void for_each_rank(int parts, int ranks, bool has_tree, Visit visit) {
  for (int rank = 0; rank < ranks; ++rank) {
    const PartRange range = parts_of_rank(parts, rank, ranks);
    visit(has_tree ? nodes_within(parts, range) : std::vector{range});
  }
}

int most_nodes(const StepTerms& terms, int ranks) {
  size_t most = 1;
  for_each_rank(terms.parts, ranks, terms.has_tree,
                [&](const auto& nodes) { most = std::max(most, nodes.size()); });
  return static_cast<int>(most);
}

struct Communication {
  double end = 0;    ///< when all have all sums
  double delay = 0;  ///< of the backward pass, which gives it cores
  double sent = 0;
};

/// backward: the time of the part in which chunks become complete; 0: they all are at the start.
Communication communicate(const Group& group, double backward) {
  const StepTerms& terms = group.terms;
  const int nodes = most_nodes(terms, group.ranks);
  const auto slice_of = [&](size_t chunk) { return terms.chunks[chunk].bytes / group.ranks; };
  const auto sums_of = [&](size_t chunk) {
    return Exchange(group, nodes * slice_of(chunk), nodes);
  };
  const auto total_of = [&](size_t chunk) { return Exchange(group, slice_of(chunk), 1); };
  const auto adding = [&](size_t chunk) {
    return (group.ranks * nodes - 1) * slice_of(chunk) * terms.adding;
  };
  struct Waiting {
    double since;
    size_t chunk;
    bool is_added;
    bool operator>(const Waiting& other) const {
      return std::pair(since, chunk) > std::pair(other.since, other.chunk);
    }
  };
  std::priority_queue<Waiting, std::vector<Waiting>, std::greater<>> waiting;
  Communication all;
  double asked_until = 0, before = 0;  // in the pass
  for (size_t i = 0; i < terms.chunks.size(); ++i) {
    const double completed = backward * terms.chunks[i].completed;
    // The cores are busy: what communication takes of them, the pass lacks.
    all.delay += std::max(0., std::min(asked_until, completed) - before) * terms.overheads.asking /
                 terms.threads;
    waiting.push({completed + all.delay, i, false});
    if (backward == 0 || terms.chunks[i].completed == 1) continue;
    const Exchange sums = sums_of(i), total = total_of(i);
    all.delay += (sums.work + adding(i) + total.work) / terms.threads;
    asked_until = std::max(asked_until, completed) + sums.time() + adding(i) + total.time();
    before = completed;
  }
  double free = 0;
  while (!waiting.empty()) {
    const auto [since, chunk, is_added] = waiting.top();
    waiting.pop();
    const Exchange exchange = is_added ? total_of(chunk) : sums_of(chunk);
    free = std::max(free, since) + exchange.busy;
    all.sent += exchange.sent;
    const double arrived = free + exchange.delay;
    if (is_added)
      all.end = std::max(all.end, arrived);
    else
      waiting.push({arrived + adding(chunk), chunk, true});
  }
  // the command for the step comes through a tree of ranks, and afterwards all gather the losses
  all.end += (2 + std::ceil(std::log2(group.ranks))) * group.one_way() +
             2 * (group.ranks - 1) * terms.overheads.message_work;
  return all;
}

}  // namespace

Link parse_network(const std::string& text) {
  const size_t comma = text.find(',');
  const std::string_view all = text;
  std::optional<double> rate, delay;
  if (comma != text.npos) {
    rate = with_unit(all.substr(0, comma), {{"Gbps", 1e9}, {"Mbps", 1e6}});
    delay = with_unit(all.substr(comma + 1), {{"s", 1}, {"ms", 1e-3}, {"us", 1e-6}});
  }
  if (!rate || !(*rate > 0) || !delay)
    fail_usage(
        "--network {}: give the rate of a node's link, in Gbps or Mbps, and the delay to another "
        "node, one way, in us, ms or s, as 25Gbps,20us",
        text);
  return {.bandwidth = *rate / 8, .delay = *delay};
}

double StepTerms::slowest(int ranks) const {
  constexpr double kRarest = 0.9;  // a few samples say nothing about what is rarer
  const double quantile = std::min(std::pow(0.5, 1. / ranks), kRarest),
               place = quantile * static_cast<double>(part.size());
  return part[std::min(static_cast<size_t>(place), part.size() - 1)];
}

double StepTerms::bytes() const {
  double sum = 0;
  for (const Chunk& chunk : chunks) sum += chunk.bytes;
  return sum;
}

StepAtScale step_at_scale(const StepTerms& terms, int ranks) {
  const int parts = (terms.parts + ranks - 1) / ranks;  // the most of all ranks
  const double part = terms.slowest(ranks), further = terms.further_part;
  StepAtScale result{.ranks = ranks, .computing = part + (parts - 1) * further};
  result.optimizer = terms.optimizer;
  if (ranks > 1) {
    const Group group(terms, ranks);
    const Communication overlapped = communicate(group, part);
    result.communicating = communicate(group, 0).end;
    result.exposed = overlapped.end - part;
    result.sent = overlapped.sent;
    if (terms.shards_optimizer) {
      result.optimizer = terms.whole_optimizer + (terms.optimizer - terms.whole_optimizer) / ranks;
      const Exchange weights(group, terms.bytes() / ranks, 1);
      result.communicating += weights.time();
      result.exposed += weights.time();
      result.sent += weights.sent;
    }
  }
  result.step = result.computing + result.exposed + result.optimizer;
  const double alone = terms.slowest(1) + (terms.parts - 1) * further + terms.optimizer;
  result.efficiency = alone / (ranks * result.step);
  return result;
}

double sum_bytes(double gradients, int parts, int ranks, bool has_tree) {
  if (!has_tree) return 0;
  size_t nodes = 0, further_sums = 0;
  int levels = 0;
  for_each_rank(parts, ranks, has_tree, [&](const std::vector<PartRange>& theirs) {
    nodes += theirs.size();
    further_sums = std::max(further_sums, theirs.size() - 1);
    for (const PartRange& node : theirs) levels = std::max(levels, levels_below(node));
  });
  const double arrays =
      levels +
      (ranks > 1 ? static_cast<double>(further_sums) + static_cast<double>(nodes - 1) / ranks : 0);
  return arrays * gradients;
}

}  // namespace mmrec
