#include "bench/tune/sweep.h"

#include <fmt/ranges.h>
#include <algorithm>
#include <chrono>
#include <climits>
#include <map>
#include <optional>
#include <utility>

#include "bench/harness/table.h"
#include "bench/tune/builds.h"
#include "bench/tune/contest.h"
#include "bench/tune/derive.h"
#include "bench/tune/instance_search.h"
#include "runtime/kernel_table.h"
#include "support/atomic_file.h"
#include "support/error.h"

namespace mmrec::tune {

namespace {

using Clock = std::chrono::steady_clock;

/// A contestant with this gain enters a duel. Half of kLeastGain: if the true gain is kLeastGain,
/// more than half of the best contestants enter.
constexpr double kPromisingGain = kLeastGain / 2;
constexpr double kQualifyingSeconds = 2;
/// A duel may run longer than the budget: a race that has begun is decided.
constexpr double kDuelSeconds = 6;
constexpr const char* kReport = "{:<42} {:>9}{:>8}{:>12}{:>7}  {}";

double now() { return std::chrono::duration<double>(Clock::now().time_since_epoch()).count(); }

/// Returns the variants of a pass that may be chosen, for the call's sizes if it has some; none for
/// an unknown operation.
std::vector<const KernelEntry*> candidates_of(const Call& call) {
  std::vector<const KernelEntry*> found = default_kernels(call.op, call.pass);
  std::erase_if(found, [&](const KernelEntry* kernel) { return kernel->dtype != call.dtype; });
  if (!call.sizes.empty() && !found.empty()) {
    const ScopedPrecision scoped(precision_of(call.dtype));
    const registry::Variant* const now =
        Kernel(call.op.c_str(), call.pass.c_str()).choose(Sizes(sizes_of(call))).line;
    std::erase_if(found, [&](const KernelEntry* kernel) { return !now->same_bits(*kernel->line); });
  }
  std::erase_if(found, [](const KernelEntry* kernel) { return kernel->baseline(); });
  return found;
}

/// Returns the fingerprint of a variant with the generator's defaults; "" if it may not be chosen.
std::string code_of(const Call& call, const Instance& instance) {
  for (const KernelEntry* defaults : candidates_of(call))
    if (defaults->variant == instance.variant) return defaults->lowered;
  return "";
}

/// Whether an instance's fingerprint is current. True if that is unknown: the
/// build does not have the instance, or the verdict has no fingerprint.
bool is_of_today(const Call& call, const Instance& instance, const std::string& lowered) {
  const KernelEntry* built = built_kernel(call, instance);
  return !built || lowered.empty() || built->lowered == lowered;
}

Sources sources() {
  return {.default_variant =
              [](const Call& call) {
                const std::vector<const KernelEntry*> candidates = candidates_of(call);
                return candidates.empty() ? "" : candidates.front()->variant;
              },
          .of_today =
              [](const Verdict& verdict) {
                const std::string code = code_of(verdict.call, verdict.instance);
                return !code.empty() && verdict.code == code &&
                       is_of_today(verdict.call, verdict.instance, verdict.lowered);
              }};
}

/// A pass of an operation with the calls that it is tuned for.
class Task {
 public:
  Task(const SweepOptions& options, std::vector<StepCall> calls, const Database& database)
      : calls_(std::move(calls)),
        variants_(candidates_of(call())),
        swept_{.pass = call().without_sizes()} {
    for (const KernelEntry* stranger : options.strangers)
      if (call().same_pass({stranger->op, stranger->pass, {}, stranger->dtype}))
        variants_.push_back(stranger);
    std::vector<Space> spaces;
    for (const KernelEntry* defaults : variants_) spaces.push_back(space_of(*defaults));
    for (const Space& space : spaces) swept_.space += space.size();
    std::vector<double> weights;
    for (const StepCall& call : calls_) weights.push_back(call.seconds);
    std::vector<Instance> seeds;
    for (const TableRow& row : database.table().rows)
      if (row.call.same_pass(call())) seeds.push_back(row.instance);
    search_.emplace(
        options.grid ? InstanceSearch::grid(std::move(spaces), std::move(weights))
                     : InstanceSearch(std::move(spaces), std::move(weights), seeds, options.seed));
  }

  /// A call of this pass, with the sizes of the first one.
  const Call& call() const { return calls_.front().call; }
  const std::vector<StepCall>& calls() const { return calls_; }
  InstanceSearch& search() { return *search_; }
  Swept& swept() { return swept_; }
  /// Returns a variant with its defaults; null if the task does not have it.
  const KernelEntry* find(const std::string& variant) const {
    const auto found = std::ranges::find_if(
        variants_, [&](const KernelEntry* kernel) { return kernel->variant == variant; });
    return found == variants_.end() ? nullptr : *found;
  }
  Instance defaults() const { return {variants_.front()->variant, {}}; }
  double seconds() const {
    double sum = 0;
    for (const StepCall& call : calls_) sum += call.seconds;
    return sum;
  }

  std::map<Instance, Compiled> made;  ///< compiled by this sweep
  bool reported = false;              ///< whether report() has printed its result

 private:
  std::vector<StepCall> calls_;
  std::vector<const KernelEntry*> variants_;  // with their defaults
  std::optional<InstanceSearch> search_;
  Swept swept_;
};

/// What the log has about an instance.
struct Known {
  bool barred = false;
  std::map<Call, const Verdict*> times;  ///< the latest of each call
};

/// The samples of a duel. The defaults may be one of the two.
struct Duel {
  RaceResult challenger, incumbent, defaults;
};

class Sweeper {
 public:
  Sweeper(const SweepOptions& options, Database& database, Console& display)
      : options_(options),
        database_(database),
        display_(display),
        workshop_(options.workshop),
        end_(now() + options.budget) {}

  std::vector<Swept> run() {
    database_.add({});                             // restores a lost table from the log
    std::map<Call, std::vector<StepCall>> passes;  // by the call without its sizes
    for (const StepCall& call : options_.calls) passes[call.call.without_sizes()].push_back(call);
    std::vector<Task> tasks;
    for (auto& [pass, calls] : passes) {
      Task task(options_, std::move(calls), database_);
      if (task.swept().space > 1) tasks.push_back(std::move(task));
    }
    std::ranges::sort(tasks, std::greater(), &Task::seconds);
    display_.line(fmt::format(kReport, "call", "time", "gain", "tried", "took", "best"));
    // In round 0 each task tries a few instances, among them the defaults. In round 1 each task
    // gets a share of the budget by the time of its calls. In later rounds, the unfinished tasks
    // share the rest, by the gains found so far.
    for (int round = 0;
         now() < end_ &&
         std::ranges::any_of(tasks, [](Task& task) { return !task.swept().finished; });
         ++round)
      for (size_t i = 0; i < tasks.size() && now() < end_; ++i) {
        if (tasks[i].swept().finished) continue;
        double all = 0;
        for (size_t j = i; j < tasks.size(); ++j)
          all += tasks[j].swept().finished ? 0 : promise(tasks[j], round);
        task_end_ = round == 0 ? 0 : now() + (end_ - now()) * promise(tasks[i], round) / all;
        work_on(tasks[i]);
        if (round > 0) report(tasks[i]);
      }
    std::vector<Swept> swept;
    for (Task& task : tasks) {
      if (!task.reported) report(task);
      swept.push_back(std::move(task.swept()));
    }
    return swept;
  }

 private:
  double promise(const Task& task, int round) const {
    double promise = 1e-9;
    for (const StepCall& call : task.calls()) {
      const TableRow* row = round > 1 ? database_.row(call.call) : nullptr;
      promise +=
          call.seconds * (row ? 0.05 + std::max(0., 1 - row->seconds / row->default_seconds) : 1);
    }
    return promise;
  }

  void work_on(Task& task) {
    const double begin = now();
    contests_.clear();
    // Two candidates per worker: a race of many candidates costs less than several races.
    const auto at_once = static_cast<size_t>(2 * std::max(1, options_.workshop.workers));
    do {
      const std::vector<Instance> instances = task.search().next(at_once);
      task.swept().finished = instances.empty();
      if (instances.empty()) break;
      try_out(task, instances);
    } while (now() < std::min(task_end_, end_));
    contests_.clear();
    task.swept().seconds += now() - begin;
    task.reported = false;
    task.swept().rows.clear();
    for (const StepCall& call : task.calls())
      if (const TableRow* row = database_.row(call.call)) task.swept().rows.push_back(*row);
  }

  /// Prints one line per call with its best instance; the first line also has the cost of the
  /// search.
  void report(Task& task) {
    task.reported = true;
    const Swept& swept = task.swept();
    std::string tried = fmt::format("{}/{:.0f}", task.search().tried(), swept.space);
    std::string took = fmt::format("{:.0f} s", swept.seconds);
    if (swept.rows.empty())
      display_.line(
          fmt::format(kReport, pass_string(swept.pass), "-", "-", tried, took, "none timed yet"));
    for (const TableRow& row : swept.rows) {
      display_.line(fmt::format(kReport, call_string(row.call), bench::time_string(row.seconds),
                                bench::ratio_string(row.speed_up()), tried, took,
                                row.instance.string()));
      tried = took = "";
    }
  }

  void show(const Task& task, const Call* call, size_t left) const {
    if (!display_.has_status()) return;
    constexpr int kBar = 20;
    const double done = 1 - std::max(0., end_ - now()) / options_.budget;
    const int filled = static_cast<int>(done * kBar);
    const TableRow* row = database_.row(call ? *call : task.call());
    const std::string best = row ? fmt::format(", best {} ({})", bench::time_string(row->seconds),
                                               bench::ratio_string(row->speed_up()))
                                 : "";
    const std::string text = fmt::format(
        "[{:#<{}}{:.<{}}] {} left  {}: {} to try{}", "", filled, "", kBar - filled,
        format_duration(std::max(0., end_ - now())),
        call ? call_string(*call) : "compiling " + pass_string(task.call()), left, best);
    display_.status(std::string_view(text).substr(0, display_.status_width()));
  }

  Known known(const Task& task, const Instance& instance) {
    Known known;
    const std::string_view code = task.find(instance.variant)->lowered;
    for (const Verdict& verdict : database_.log().verdicts()) {
      if (!verdict.call.same_pass(task.call()) || verdict.instance != instance ||
          verdict.code != code || !is_of_today(verdict.call, instance, verdict.lowered) ||
          !same_build(verdict, database_.machine()))
        continue;
      known.barred |= verdict.bars();
      if (verdict.timed() && same_machine(verdict, database_.machine()))
        known.times[verdict.call] = &verdict;
    }
    return known;
  }

  /// Completes the log's knowledge of the instances, and tells the search their scores.
  void try_out(Task& task, const std::vector<Instance>& instances) {
    std::vector<Instance> unknown;
    for (const Instance& instance : instances) {
      const Known before = known(task, instance);
      const auto timed = [&](const StepCall& call) { return before.times.contains(call.call); };
      if (!before.barred && !std::ranges::all_of(task.calls(), timed)) unknown.push_back(instance);
    }
    size_t left = unknown.size() + task.search().left();
    compile(task, unknown, left);
    for (const StepCall& call : task.calls()) {
      if (now() >= end_) break;
      std::vector<Instance> entrants;
      for (const Instance& instance : unknown)
        if (kernel_of(task, instance) && !known(task, instance).times.contains(call.call))
          entrants.push_back(instance);
      if (!entrants.empty()) race(task, call.call, entrants, left);
    }
    for (const Instance& instance : instances) {
      const Known after = known(task, instance);
      std::vector<double> scores;
      for (const StepCall& call : task.calls())
        if (const auto time = after.times.find(call.call); time != after.times.end())
          scores.push_back(time->second->score());
      const bool whole = !after.barred && scores.size() == task.calls().size();
      task.search().tell(instance, whole ? std::optional(scores) : std::nullopt);
    }
  }

  /// Compiles the instances that are neither built nor made yet, as far as time allows. Logs
  /// failures.
  void compile(Task& task, const std::vector<Instance>& instances, size_t left) {
    std::vector<std::vector<int>> shapes;
    for (const StepCall& call : task.calls()) shapes.push_back(sizes_of(call.call));
    std::vector<Instance> missing;
    std::vector<Recipe> recipes;
    for (const Instance& instance : instances) {
      if (kernel_of(task, instance) || task.made.contains(instance)) continue;
      recipes.push_back(recipe_of(*task.find(instance.variant), instance, shapes, options_.seed));
      missing.push_back(instance);
    }
    if (recipes.empty()) return;
    const double begin = now();
    std::vector<Compiled> made =
        workshop_.make(recipes, end_ - begin, [&] { show(task, nullptr, left); });
    std::vector<Verdict> failures;
    for (size_t i = 0; i < made.size(); ++i) {
      // Ended by the budget: no verdict on the instance.
      const bool cut_short = made[i].status == Status::kSlowCompile && now() >= end_;
      task.swept().compiled += !cut_short;
      if (!made[i].candidate && !cut_short) {
        failures.push_back(
            database_.verdict(task.call().without_sizes(), missing[i], made[i].status));
        failures.back().message = made[i].message;
        failures.back().lowered = made[i].lowered;
      }
      task.made[missing[i]] = std::move(made[i]);
    }
    if (!failures.empty()) database_.add(failures);
  }

  /// Returns a kernel to run; null if it is neither built nor made.
  const KernelEntry* kernel_of(const Task& task, const Instance& instance) const {
    if (const KernelEntry* built = built_kernel(task.call(), instance)) return built;
    const auto made = task.made.find(instance);
    return made != task.made.end() && made->second.candidate ? &made->second.candidate->entry()
                                                             : nullptr;
  }

  /// Returns the instance to beat: the table's, or the one that a call gets today.
  Instance incumbent_of(const Task& task, const Call& call) {
    const TableRow* row = database_.row(call);
    const Instance incumbent = row ? row->instance : chosen_instance(call);
    return task.find(incumbent.variant) && !known(task, incumbent).barred ? incumbent
                                                                          : task.defaults();
  }

  /// Races the entrants against the incumbent and the defaults. The best of them may be best by
  /// chance, so it must also win a duel against the incumbent, clearly. Logs all verdicts.
  void race(Task& task, const Call& call, const std::vector<Instance>& entrants, size_t left) {
    // The defaults, the base of all times, and the incumbent are never dropped.
    compile(task, {task.defaults(), incumbent_of(task, call)}, left);
    // Ask again: the incumbent may have been barred just now.
    const Instance incumbent = incumbent_of(task, call);
    std::vector<Instance> instances{task.defaults()};
    if (incumbent != instances.front()) instances.push_back(incumbent);
    // Without them, no other instance may win.
    if (!std::ranges::all_of(instances,
                             [&](const Instance& one) { return is_made(task, call, one); }))
      return;
    const size_t staying = instances.size(), champion = staying - 1;
    for (const Instance& instance : entrants)
      if (std::ranges::find(instances, instance) == instances.end()) instances.push_back(instance);
    std::vector<const KernelEntry*> kernels;
    for (const Instance& instance : instances) kernels.push_back(kernel_of(task, instance));
    show(task, &call, left);
    auto contest = contests_.find(call);
    if (contest == contests_.end())
      contest = contests_.emplace(call, std::make_unique<Contest>(call, options_.seed)).first;
    const std::vector<RaceResult> runs =
        contest->second->race(kernels, staying, {.seconds = kQualifyingSeconds}, in_time_);

    std::vector<Verdict> verdicts;
    const std::string name = fmt::format("{}-{}", utc_time(), unique_token());
    const auto add = [&](size_t i, const RaceResult& run, const RaceResult& beaten,
                         const RaceResult& defaults) {
      Verdict verdict =
          database_.verdict(call, instances[i], run.dropped ? Status::kDropped : Status::kOk);
      verdict.race = name;
      verdict.lowered = kernels[i]->lowered;
      verdict.seconds = summary(run.samples);
      verdict.incumbent = incumbent;
      verdict.incumbent_seconds = verdict.seconds.median / relative(run, beaten);
      verdict.default_seconds = verdict.seconds.median / relative(run, defaults);
      verdicts.push_back(std::move(verdict));
    };
    for (size_t i = 0; i < runs.size(); ++i) add(i, runs[i], runs[champion], runs.front());
    if (const size_t best = most_promising(runs, champion); best != champion) {
      const Duel duel =
          duel_of(*contest->second, kernels[best], kernels[champion], kernels.front());
      add(best, duel.challenger, duel.incumbent, duel.defaults);
      verdicts.back().wins = outcome(duel.challenger, duel.incumbent) == Outcome::kFaster;
    }
    task.swept().timed += static_cast<int>(runs.size());
    database_.add(verdicts);
  }

  /// Whether there is a kernel of an instance. Warns if there is none, unless time is up.
  bool is_made(const Task& task, const Call& call, const Instance& instance) const {
    if (kernel_of(task, instance)) return true;
    if (!in_time_()) return false;
    display_.erase_status();
    database_.warn()(fmt::format("{}: left out, {} could not be compiled: {}", call_string(call),
                                 instance.string(), task.made.at(instance).message));
    return false;
  }

  /// Returns the fastest contestant with at least kPromisingGain over the champion, or the
  /// champion.
  static size_t most_promising(const std::vector<RaceResult>& runs, size_t champion) {
    size_t best = champion;
    double least = 1 - kPromisingGain;
    for (size_t i = 0; i < runs.size(); ++i)
      if (const double time = relative(runs[i], runs[champion]); time < least)
        best = i, least = time;
    return best;
  }

  /// Races two kernels until the outcome is clear; the defaults run beside them.
  Duel duel_of(const Contest& contest, const KernelEntry* challenger, const KernelEntry* incumbent,
               const KernelEntry* defaults) const {
    std::vector<const KernelEntry*> kernels{incumbent, challenger};
    if (defaults != incumbent && defaults != challenger) kernels.push_back(defaults);
    const auto decided = [](const auto& runs) {
      return outcome(runs[1], runs[0]) != Outcome::kOpen;
    };
    const std::vector<RaceResult> runs = contest.race(
        kernels, kernels.size(),
        {.slice = 3e-3, .rounds = INT_MAX, .early = 1, .seconds = kDuelSeconds, .decided = decided},
        in_time_);
    return {runs[1], runs[0], runs[std::ranges::find(kernels, defaults) - kernels.begin()]};
  }

  const SweepOptions& options_;
  Database& database_;
  Console& display_;
  Workshop workshop_;
  double end_, task_end_ = 0;
  const std::function<bool()> in_time_ = [this] { return now() < end_; };
  std::map<Call, std::unique_ptr<Contest>> contests_;
};

}  // namespace

Database::Database(const std::filesystem::path& folder, Machine machine, Warn warn)
    : machine_(std::move(machine)),
      table_path_(folder / (machine_.microarchitecture + ".json")),
      log_path_(folder / (machine_.cpu + ".log.jsonl")),
      warn_(std::move(warn)),
      table_(read_schedule_table(table_path_, machine_.microarchitecture, warn_)) {}

Log& Database::log() {
  if (!log_) {
    make_directory(log_path_.parent_path());
    log_.emplace(log_path_, warn_);
  }
  return *log_;
}

const TableRow* Database::row(const Call& call) const {
  for (const TableRow& row : table_.rows)
    if (row.call == call && row.isa == machine_.isa && row.threads == machine_.threads &&
        row.cpu == machine_.cpu && row.halide == machine_.halide && !row.lowered.empty() &&
        is_of_today(call, row.instance, row.lowered))
      return &row;
  return nullptr;
}

Verdict Database::verdict(const Call& call, const Instance& instance, Status status) const {
  return {.time = utc_time(),
          .machine = machine_,
          .call = call,
          .instance = instance,
          .code = code_of(call, instance),
          .status = status};
}

void Database::add(std::span<const Verdict> verdicts) {
  log().append(verdicts, [&] {
    // Calls with news also include verdicts that are newer than the table: a tuner was killed
    // before it wrote the table.
    const std::string written = std::filesystem::exists(table_path_)
                                    ? utc_time(std::filesystem::last_write_time(table_path_))
                                    : "";
    std::vector<Call> news;
    for (const Verdict& verdict : verdicts) news.push_back(verdict.call);
    for (const Verdict& verdict : log().verdicts())
      if (verdict.time > written) news.push_back(verdict.call);
    const auto is_news = [&](const Call& call) {
      return std::ranges::any_of(news, [&](const Call& known) {
        return known == call || (known.sizes.empty() && known.same_pass(call));
      });
    };
    table_ = read_schedule_table(table_path_, machine_.microarchitecture, warn_);
    drop_barred_rows(table_, log().verdicts(), machine_);
    std::vector<TableRow> rows = derive_rows(log().verdicts(), machine_, sources());
    std::erase_if(
        rows, [&](const TableRow& derived) { return !is_news(derived.call) && row(derived.call); });
    merge_rows(table_, rows);
    write_schedule_table(table_path_, table_);
  });
}

void check_may_tune(const std::string& target, const std::filesystem::path& user_folder) {
  if (kernel_tables().size() > 1)
    fail(
        "this build has kernels for several targets, and a table is for one machine: tune with a "
        "build for this one (make tune)");
  if (target.find("no_asserts") == target.npos && user_folder.empty())
    fail(
        "this build's kernels check their arguments, and the table is for those that do not: tune "
        "with a release build, or set "
        "MMREC_SCHEDULE_DIR to a folder for these");
}

std::vector<Swept> sweep(const SweepOptions& options, Database& database, Console& display) {
  return Sweeper(options, database, display).run();
}

}  // namespace mmrec::tune
