#include "bench/tune/sweep.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <optional>
#include <utility>

#include "bench/table.h"
#include "bench/tune/builds.h"
#include "bench/tune/contest.h"
#include "bench/tune/derive.h"
#include "bench/tune/search.h"
#include "runtime/error.h"

namespace mmrec::tune {

namespace {

using Clock = std::chrono::steady_clock;

constexpr Racing kQualifying{.times = 2}, kFinal{.times = 8, .rounds = 40, .seconds = 5};

double now() { return std::chrono::duration<double>(Clock::now().time_since_epoch()).count(); }

Sources sources() {
  return {.default_variant = [](const Call& call) { return builds_of(call.op, call.pass).at(0).variant; },
          .source = [](const Call& call, const std::string& variant) -> std::string {
            for (const Build& build : builds())
              if (build.op == call.op && build.pass == call.pass && build.variant == variant) return build.source;
            return "";
          }};
}

/// A pass of an operation with the calls that it is tuned for.
class Task {
 public:
  Task(const SweepOptions& options, std::vector<StepCall> calls, const Database& database)
      : calls_(std::move(calls)), builds_(builds_of(op(), pass())), swept_{.op = op(), .pass = pass()} {
    std::vector<Space> spaces;
    for (const Build& build : builds_) spaces.push_back(space_of(build));
    for (const Space& space : spaces) swept_.space += space.size();
    std::vector<double> weights;
    for (const StepCall& call : calls_) weights.push_back(call.seconds);
    std::vector<Instance> seeds;
    for (const Row& row : database.table().rows)
      if (row.call.op == op() && row.call.pass == pass()) seeds.push_back(row.instance);
    search_.emplace(options.grid ? Search::grid(std::move(spaces), std::move(weights))
                                 : Search(std::move(spaces), std::move(weights), seeds, options.seed));
  }

  const std::string& op() const { return calls_.front().call.op; }
  const std::string& pass() const { return calls_.front().call.pass; }
  const std::vector<StepCall>& calls() const { return calls_; }
  Search& search() { return *search_; }
  Swept& swept() { return swept_; }
  const Build& build(const std::string& variant) const {
    const auto build = std::ranges::find(builds_, variant, &Build::variant);
    if (build == builds_.end()) fail("{}.{} has no variant {}", op(), pass(), variant);
    return *build;
  }
  Instance defaults() const { return {builds_.front().variant, {}}; }
  double seconds() const {
    double sum = 0;
    for (const StepCall& call : calls_) sum += call.seconds;
    return sum;
  }

  std::map<Instance, Compiled> made;  ///< what this sweep has compiled

 private:
  std::vector<StepCall> calls_;
  std::vector<Build> builds_;
  std::optional<Search> search_;
  Swept swept_;
};

/// What the log says of an instance.
struct Known {
  bool useless = false;                  ///< wrong, refused or too slow to compile
  std::map<Call, const Verdict*> times;  ///< the latest
};

class Sweeper {
 public:
  Sweeper(const SweepOptions& options, Database& database, Console& display)
      : options_(options), database_(database), display_(display), workshop_(options.workshop), end_(now() + options.budget) {}

  std::vector<Swept> run() {
    std::map<std::pair<std::string, std::string>, std::vector<StepCall>> passes;
    for (const StepCall& call : options_.calls) passes[{call.call.op, call.call.pass}].push_back(call);
    std::vector<Task> tasks;
    for (auto& [pass, calls] : passes) {
      Task task(options_, std::move(calls), database_);
      if (task.swept().space > 1) tasks.push_back(std::move(task));
    }
    std::ranges::sort(tasks, std::greater(), &Task::seconds);
    // Shares by time the first time round; what is left goes to those whose search goes on, by what it has found.
    for (int round = 0; now() < end_ && std::ranges::any_of(tasks, [](Task& task) { return !task.swept().finished; }); ++round)
      for (size_t i = 0; i < tasks.size() && now() < end_; ++i) {
        if (tasks[i].swept().finished) continue;
        double all = 0;
        for (size_t j = i; j < tasks.size(); ++j) all += tasks[j].swept().finished ? 0 : promise(tasks[j], round);
        task_end_ = now() + (end_ - now()) * promise(tasks[i], round) / all;
        work_on(tasks[i]);
      }
    std::vector<Swept> swept;
    for (Task& task : tasks) swept.push_back(std::move(task.swept()));
    return swept;
  }

 private:
  double promise(const Task& task, int round) const {
    double promise = 1e-9;
    for (const StepCall& call : task.calls()) {
      const Row* row = round > 0 ? database_.row(call.call) : nullptr;
      promise += call.seconds * (row ? 0.05 + std::max(0., 1 - row->seconds / row->default_seconds) : 1);
    }
    return promise;
  }

  void work_on(Task& task) {
    const double begin = now();
    contests_.clear();
    // Workers come in pairs so that one race serves some candidates.
    const auto at_once = static_cast<size_t>(2 * std::max(1, options_.workshop.workers));
    do {
      const std::vector<Instance> instances = task.search().next(at_once);
      task.swept().finished = instances.empty();
      if (instances.empty()) break;
      try_out(task, instances);
    } while (now() < std::min(task_end_, end_));
    contests_.clear();
    task.swept().seconds += now() - begin;
    task.swept().rows.clear();
    for (const StepCall& call : task.calls())
      if (const Row* row = database_.row(call.call)) task.swept().rows.push_back(*row);
    report(task);
  }

  void report(Task& task) {
    std::vector<std::string> found;
    for (const Row& row : task.swept().rows)
      found.push_back(fmt::format("{}: {} {:.2f}x {}", fmt::join(sizes_of(row.call), "x"), bench::time_string(row.seconds),
                                  row.default_seconds / row.seconds, row.instance.string()));
    display_.line(fmt::format("{}.{}: {} compiled, {} tried of {:.0f}{}, {:.0f} s; {}", task.op(), task.pass(), task.swept().compiled,
                              task.search().tried(), task.swept().space, task.swept().finished ? " (all that is near)" : "", task.swept().seconds,
                              fmt::join(found, "; ")));
  }

  void show(const Task& task, const Call* call, size_t left) const {
    if (!display_.has_status()) return;
    constexpr int kBar = 20;
    const double done = 1 - std::max(0., end_ - now()) / options_.budget;
    const int filled = static_cast<int>(done * kBar);
    const Row* row = database_.row(call ? *call : task.calls().front().call);
    const std::string best = row ? fmt::format("  best {} ({:.2f}x)", bench::time_string(row->seconds), row->default_seconds / row->seconds) : "";
    const std::string text =
        fmt::format("[{:#<{}}{:.<{}}] {}  {} left{}  {} left", "", filled, "", kBar - filled,
                    call ? call_string(*call) : task.op() + "." + task.pass() + " compiles", left, best, format_duration(std::max(0., end_ - now())));
    display_.status(std::string_view(text).substr(0, display_.status_width()));
  }

  Known known(const Task& task, const Instance& instance) {
    Known known;
    const std::string& source = task.build(instance.variant).source;
    for (const Verdict& verdict : database_.log().verdicts()) {
      if (verdict.call.op != task.op() || verdict.call.pass != task.pass() || verdict.instance != instance || verdict.source != source ||
          !same_machine(verdict, database_.machine()))
        continue;
      if (verdict.timed())
        known.times[verdict.call] = &verdict;
      else
        known.useless = true;
    }
    return known;
  }

  /// Brings the log to know all about some instances, and tells the search.
  void try_out(Task& task, const std::vector<Instance>& instances) {
    std::vector<Instance> unknown;
    for (const Instance& instance : instances) {
      const Known before = known(task, instance);
      const auto timed = [&](const StepCall& call) { return before.times.contains(call.call); };
      if (!before.useless && !std::ranges::all_of(task.calls(), timed)) unknown.push_back(instance);
    }
    size_t left = unknown.size() + task.search().left();
    compile(task, unknown, left);
    for (const StepCall& call : task.calls()) {
      std::vector<Instance> entrants;
      for (const Instance& instance : unknown)
        if (task.made.at(instance).candidate && !known(task, instance).times.contains(call.call)) entrants.push_back(instance);
      if (!entrants.empty()) race(task, call.call, entrants, left);
    }
    for (const Instance& instance : instances) {
      const Known after = known(task, instance);
      std::vector<double> scores;
      for (const StepCall& call : task.calls())
        if (const auto time = after.times.find(call.call); time != after.times.end()) scores.push_back(time->second->score());
      const bool whole = !after.useless && scores.size() == task.calls().size();
      task.search().tell(instance, whole ? std::optional(scores) : std::nullopt);
    }
  }

  /// Makes those of the instances that are not made yet; those that fail go into the log.
  void compile(Task& task, const std::vector<Instance>& instances, size_t left) {
    std::vector<Instance> missing;
    std::vector<Recipe> recipes;
    for (const Instance& instance : instances) {
      if (task.made.contains(instance) || std::ranges::find(missing, instance) != missing.end()) continue;
      const Build& build = task.build(instance.variant);
      Recipe recipe{task.op(), task.pass(), instance.variant, build.generator, build.params, {}, options_.seed};
      for (const auto& [name, value] : instance.params) recipe.params[name] = value;
      for (const StepCall& call : task.calls()) recipe.shapes.push_back(sizes_of(call.call));
      recipes.push_back(std::move(recipe));
      missing.push_back(instance);
    }
    if (recipes.empty()) return;
    std::vector<Compiled> made = workshop_.make(recipes, [&] { show(task, nullptr, left); });
    task.swept().compiled += static_cast<int>(made.size());
    std::vector<Verdict> failures;
    for (size_t i = 0; i < made.size(); ++i) {
      if (!made[i].candidate) {
        failures.push_back(database_.verdict({task.op(), task.pass(), {}}, missing[i], made[i].status));
        failures.back().message = made[i].message;
      }
      task.made[missing[i]] = std::move(made[i]);
    }
    if (!failures.empty()) database_.add(failures);
  }

  /// A kernel to run; null where it can not be compiled.
  const KernelEntry* kernel_of(Task& task, const Instance& instance, size_t left) {
    if (const KernelEntry* built = built_kernel(task.build(instance.variant), instance)) return built;
    compile(task, {instance}, left);
    const Compiled& made = task.made.at(instance);
    return made.candidate ? &made.candidate->entry() : nullptr;
  }

  void race(Task& task, const Call& call, const std::vector<Instance>& entrants, size_t left) {
    // The defaults, with which all times are compared, and the incumbent stay to the end.
    const Row* row = database_.row(call);
    Instance incumbent = row ? row->instance : chosen_instance(call);
    if (std::ranges::none_of(builds_of(call.op, call.pass), [&](const Build& build) { return build.variant == incumbent.variant; }))
      incumbent = task.defaults();
    std::vector<Instance> instances{task.defaults()};
    std::vector<const KernelEntry*> kernels{kernel_of(task, task.defaults(), left)};
    if (!kernels.front()) fail("the defaults of {}.{} do not compile: {}", call.op, call.pass, task.made.at(task.defaults()).message);
    const auto enter = [&](const Instance& instance) {
      const KernelEntry* kernel = kernel_of(task, instance, left);
      if (!kernel || std::ranges::find(instances, instance) != instances.end()) return;
      instances.push_back(instance);
      kernels.push_back(kernel);
    };
    enter(incumbent);
    const size_t staying = instances.size(), champion = std::ranges::find(instances, incumbent) - instances.begin();
    std::map<Instance, Instance> twins;  // of the same code
    for (const Instance& instance : entrants) {
      const auto twin = std::ranges::find_if(instances, [&](const Instance& other) { return same_code(task, instance, other); });
      if (twin == instances.end())
        enter(instance);
      else if (*twin != instance)
        twins[instance] = *twin;
    }
    show(task, &call, left);
    auto contest = contests_.find(call);
    if (contest == contests_.end()) contest = contests_.emplace(call, std::make_unique<Contest>(call, options_.seed)).first;
    const std::vector<Run> runs = contest->second->race(kernels, staying, kQualifying);

    const size_t beaten = champion < runs.size() ? champion : 0;
    size_t winner = beaten;
    double least = (1 - kLeastGain) * median(runs[beaten].samples);
    for (size_t i = 0; i < runs.size(); ++i)
      if (i != beaten && median(runs[i].samples) < least) winner = i, least = median(runs[i].samples);
    // Of many, one may look good by chance: it has to win again, alone against the incumbent and the defaults, and clearly.
    const std::vector<Run> final_runs =
        winner == beaten ? std::vector<Run>{} : contest->second->race(std::array{kernels[0], kernels[beaten], kernels[winner]}, 3, kFinal);
    const bool wins = !final_runs.empty() && beats(final_runs[2].samples, final_runs[1].samples);
    std::vector<Verdict> verdicts;
    const std::string name = fmt::format("{}-{}-{}", utc_time(), ::getpid(), races_++);
    const auto add = [&](const Instance& instance, size_t run, const std::string& message) {
      Verdict verdict = database_.verdict(call, instance, runs[run].dropped ? Status::kDropped : Status::kOk);
      verdict.race = name;
      const bool finalist = run == winner && winner != beaten;
      verdict.seconds = summary(finalist ? final_runs[2].samples : runs[run].samples);
      verdict.incumbent = instances[beaten];
      verdict.incumbent_seconds = median(finalist ? final_runs[1].samples : runs[beaten].samples);
      verdict.default_seconds = median(finalist ? final_runs[0].samples : runs.front().samples);
      verdict.wins = finalist && wins && message.empty();
      verdict.message = message;
      verdicts.push_back(std::move(verdict));
    };
    for (size_t i = 0; i < runs.size(); ++i) add(instances[i], i, "");
    for (const auto& [instance, twin] : twins)
      add(instance, std::ranges::find(instances, twin) - instances.begin(), "the same code as " + twin.string());
    task.swept().timed += static_cast<int>(runs.size());
    database_.add(verdicts);
  }

  static bool same_code(const Task& task, const Instance& a, const Instance& b) {
    const auto made_a = task.made.find(a), made_b = task.made.find(b);
    return made_a != task.made.end() && made_b != task.made.end() && made_a->second.candidate && made_b->second.candidate &&
           made_a->second.code == made_b->second.code;
  }

  const SweepOptions& options_;
  Database& database_;
  Console& display_;
  Workshop workshop_;
  double end_, task_end_ = 0;
  int races_ = 0;
  std::map<Call, std::unique_ptr<Contest>> contests_;
};

}  // namespace

Database::Database(const std::filesystem::path& folder, Machine machine, Log::Warn warn)
    : machine_(std::move(machine)),
      table_path_(folder / (machine_.microarchitecture + ".json")),
      warn_(std::move(warn)),
      log_((std::filesystem::create_directories(folder), folder / (machine_.cpu + ".log.jsonl")), warn_),
      table_(read_schedule_table(table_path_, machine_.microarchitecture, warn_)) {}

const Row* Database::row(const Call& call) const {
  for (const Row& row : table_.rows)
    if (row.call == call && row.isa == machine_.isa && row.threads == machine_.threads && row.cpu == machine_.cpu && row.halide == machine_.halide &&
        row.source == sources().source(call, row.instance.variant))
      return &row;
  return nullptr;
}

Verdict Database::verdict(const Call& call, const Instance& instance, Status status) const {
  return {.time = utc_time(),
          .machine = machine_,
          .call = call,
          .instance = instance,
          .source = sources().source(call, instance.variant),
          .status = status};
}

void Database::add(std::span<const Verdict> verdicts) {
  log_.append(verdicts, [&] {
    table_ = read_schedule_table(table_path_, machine_.microarchitecture, warn_);
    drop_wrong_rows(table_, log_.verdicts(), machine_);
    merge_rows(table_, derive_rows(log_.verdicts(), machine_, sources()));
    write_schedule_table(table_path_, table_);
  });
}

std::vector<Swept> sweep(const SweepOptions& options, Database& database, Console& display) { return Sweeper(options, database, display).run(); }

}  // namespace mmrec::tune
