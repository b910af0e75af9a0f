#include "bench/tune/derive.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <utility>

namespace mmrec::tune {

namespace {

/// The log's verdicts on one call.
struct Timings {
  Instance champion;
  std::map<Instance, const Verdict*> latest;  ///< of the instances that were timed to the end
  std::vector<const Verdict*> duels;          ///< in the order of the log

  double score(const Instance& instance) const { return latest.at(instance)->score(); }
  /// Whether the call may use this instance: its time is within kLeastGain of the champion's, and
  /// it is not slower than the defaults unless the champion is.
  bool served_by(const Instance& instance) const {
    const double best = score(champion);
    return latest.contains(instance) &&
           score(instance) <= std::min((1 + kLeastGain) * best, std::max(1., best));
  }
  void find_champion();
};

/// Finds the champion by the duels, starting from the current value of `champion`.
void Timings::find_champion() {
  std::map<std::pair<Instance, Instance>, const Verdict*> last;  // latest duel of each pair
  const auto pair = [](const Verdict& duel) { return std::minmax(duel.instance, duel.incumbent); };
  for (const Verdict* duel : duels) last[pair(*duel)] = duel;
  for (const Verdict* duel : duels) {
    if (last.at(pair(*duel)) != duel || !*duel->wins) continue;
    if (duel->incumbent == champion || duel->score() < (1 - kLeastGain) * score(champion))
      champion = duel->instance;
  }
}

using CallsOfPass = std::map<Call, Timings>;

/// Returns few instances that together serve all calls: the champion of the longest call, then the
/// champion of the longest call that it does not serve, and so on.
std::vector<Instance> few_instances(const CallsOfPass& calls) {
  std::vector<const Timings*> left;
  for (const auto& [call, timings] : calls) left.push_back(&timings);
  std::ranges::stable_sort(left, std::greater(), [](const Timings* timings) {
    return timings->latest.at(timings->champion)->seconds.median;
  });
  std::vector<Instance> chosen;
  while (!left.empty()) {
    chosen.push_back(left.front()->champion);
    std::erase_if(left, [&](const Timings* timings) { return timings->served_by(chosen.back()); });
  }
  return chosen;
}

}  // namespace

bool same_build(const Verdict& verdict, const Machine& machine) {
  const Machine& other = verdict.machine;
  return other.cpu == machine.cpu && other.microarchitecture == machine.microarchitecture &&
         other.target == machine.target && other.halide == machine.halide;
}

bool same_machine(const Verdict& verdict, const Machine& machine) {
  return same_build(verdict, machine) && verdict.machine.threads == machine.threads;
}

void drop_barred_rows(ScheduleTable& table, std::span<const Verdict> verdicts,
                      const Machine& machine) {
  for (const Verdict& verdict : verdicts) {
    if (!verdict.bars() || !same_build(verdict, machine)) continue;
    std::erase_if(table.rows, [&](const TableRow& row) {
      return row.cpu == machine.cpu && row.isa == machine.isa && row.lowered == verdict.lowered &&
             row.call.same_pass(verdict.call) && row.instance == verdict.instance;
    });
  }
}

std::vector<TableRow> derive_rows(std::span<const Verdict> verdicts, const Machine& machine,
                                  const Sources& sources) {
  std::set<std::pair<Call, Instance>> barred;
  for (const Verdict& verdict : verdicts)
    if (verdict.bars() && same_build(verdict, machine) && sources.of_today(verdict))
      barred.emplace(verdict.call.without_sizes(), verdict.instance);

  std::map<Call, CallsOfPass> passes;  // by the call without its sizes
  for (const Verdict& verdict : verdicts) {
    const Call& call = verdict.call;
    if (verdict.status != Status::kOk ||
        barred.contains({call.without_sizes(), verdict.instance}) ||
        !same_machine(verdict, machine) || !sources.of_today(verdict))
      continue;
    const auto [place, first] = passes[call.without_sizes()].try_emplace(call);
    Timings& timings = place->second;
    if (first) timings.champion = verdict.incumbent;
    timings.latest[verdict.instance] = &verdict;
    if (verdict.wins) timings.duels.push_back(&verdict);
  }

  std::vector<TableRow> rows;
  for (auto& [pass, calls] : passes) {
    for (auto& [call, timings] : calls) {
      // barred since, or measured with other code
      if (!timings.latest.contains(timings.champion))
        timings.champion = {sources.default_variant(call), {}};
      if (timings.latest.contains(timings.champion)) timings.find_champion();
    }
    std::erase_if(calls, [](const auto& entry) {
      return !entry.second.latest.contains(entry.second.champion);
    });
    const std::vector<Instance> chosen = few_instances(calls);
    for (const auto& [call, timings] : calls) {
      const Instance* best = nullptr;
      for (const Instance& instance : chosen)
        if (timings.served_by(instance) &&
            (!best || timings.score(instance) < timings.score(*best)))
          best = &instance;
      const Verdict& verdict = *timings.latest.at(*best);
      rows.push_back({.call = call,
                      .isa = machine.isa,
                      .threads = machine.threads,
                      .cpu = machine.cpu,
                      .instance = *best,
                      .seconds = verdict.seconds.median,
                      .default_seconds = verdict.default_seconds,
                      .halide = machine.halide,
                      .lowered = verdict.lowered,
                      .date = verdict.time.substr(0, verdict.time.find('T'))});
    }
  }
  return rows;
}

}  // namespace mmrec::tune
