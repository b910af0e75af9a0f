#include "train/search/search.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "model/config.h"
#include "model/config_file.h"
#include "runtime/machine.h"
#include "support/atomic_file.h"
#include "support/console.h"
#include "support/directory_lock.h"
#include "support/error.h"
#include "support/names.h"
#include "support/stop_signals.h"
#include "support/strict_json.h"
#include "train/run/checkpoint.h"
#include "train/run/data.h"
#include "train/run/folder.h"
#include "train/run/options.h"

namespace mmrec {

namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

/// Returns why a run failed, from its output.
std::string reason(const fs::path& output, int code) {
  // the file may have been removed
  const std::string text = exists(PathAt(output)) ? read_file(output) : "";
  constexpr std::string_view kError = "error: ";
  if (const size_t place = text.rfind(kError); place != text.npos)
    return text.substr(place + kError.size(), text.find('\n', place) - place - kError.size());
  if (code == -SIGKILL) return "killed (signal 9): out of memory?";
  return code < 0 ? fmt::format("ended by signal {}", -code)
                  : fmt::format("ended with code {}", code);
}

bool is_interruption(int code) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP})
    if (code == 128 + signal || code == -signal) return true;
  return false;
}

/// A text that experiments read.
struct Text {
  std::string identity;        ///< distinguishes it from other texts
  std::string read_otherwise;  ///< see RunData; `notes` too
  std::vector<Note> notes;
};

/// The named inputs of experiments, as they were when the search first used them.
struct Sources {
  std::map<std::string, Config> configs;       // by the value of --config
  std::map<std::string, Text> texts;           // by the value of --data
  std::map<std::string, std::string> weights;  // by the value of --init: identity of the weights
  std::map<std::string, std::exception_ptr> unreadable;  // names that could not be read, and why
};

class Search {
 public:
  Search(const SearchOptions& options, Workers& workers);
  SearchOutcome run();

 private:
  struct Running {
    Settings settings;
    std::string folder;
    fs::path output;  // by which the workers know it
  };

  static fs::path made(const fs::path& path) {
    make_directory(path);
    return path;
  }
  /// The folder's current name. Experiments get it as their working place.
  fs::path here() const { return lock_.current_path(); }
  fs::path run_folder(const std::string& folder) const { return here() / "experiments" / folder; }
  fs::path output(const std::string& folder) const {
    return here() / "experiments" / (folder + ".output");
  }
  size_t done() const { return at_rung_ - pending_.size() - running_.size() - interrupted_.size(); }
  /// Compares an existing search.json with this search, and builds the new one.
  void check_description();
  /// Refuses an earlier search whose experiments have other settings in common.
  void check_common(const nlohmann::json& before);
  /// Takes the configurations of an earlier search; refuses one whose file has changed.
  void keep_configs(const nlohmann::json& before, const std::string& shown);
  /// Throws if a value of --data, --init or --config cannot be read.
  void check_sources() const;
  /// Returns all settings of an experiment for train. A configuration file is replaced by its
  /// fields, because the file may change or disappear.
  Settings with_common(const Settings& settings) const;
  /// Refuses an earlier search with other rungs.
  void check_rungs(const nlohmann::json& before) const;
  void read_results();
  /// Returns an experiment's result at a rung, or where it ended before it; null if it has not come
  /// there.
  const SearchResult* result_at(double rung, const Settings& settings) const;
  /// Returns those of the experiments that go on after a rung.
  std::vector<Settings> best_at(double rung, const std::vector<Settings>& experiments) const;
  /// Finds the first rung that experiments have still to come to: rung_, at_rung_ and, if there is
  /// one, pending_.
  void find_rung();
  /// Returns whether a process of a killed earlier search is still saving its state in an
  /// experiment's folder.
  bool is_in_use(const Settings& settings);
  /// Starts an experiment. Returns false if it could not be started and may be retried when another
  /// experiment has ended. Returns true if it was started or already has a result.
  bool start(const Settings& settings);
  /// Starts as many of the pending experiments as there is room for.
  void start_pending();
  /// Runs the pending experiments to the rung, or until a signal comes.
  void run_pending(const StopSignals& stop, SuspendSignal& suspend);
  void describe_rung();
  SearchOutcome run_experiments();
  void finish(const Running& running, int code);
  void finish_ended();
  void add(const SearchResult& result);
  void write_best(const std::vector<SearchResult>& results) const;
  /// Prints the notes about the texts, once for all experiments.
  void describe_texts();

  const SearchOptions& options_;
  Workers& workers_;
  Settings common_;
  Sources sources_;
  nlohmann::json description_;  // search.json
  std::string default_warmup_ = "auto";
  std::vector<Settings> experiments_;
  DirectoryLock lock_;
  Console console_;
  std::vector<SearchResult> results_;  // of an experiment in the order of its rungs
  double rung_ = 1;
  size_t at_rung_ = 0;  // number of experiments that are to come to the rung
  std::deque<Settings> pending_;
  std::vector<Running> running_;
  std::vector<Settings> interrupted_;
  std::set<std::string> waited_for_;  // folders with a message about waiting
  // Limit of running experiments; reduced while the system starts no more.
  int room_ = workers_.room();
  const Clock::time_point begin_ = Clock::now();
};

Sources sources_of(const SearchSpace& space, const Settings& common) {
  Sources sources;
  const auto for_each = [&](const std::string& option, std::vector<std::string> names,
                            const auto& read) {
    for (const auto& [name, value] : common)
      if (name == option) names = {value};
    for (const GridAxis& grid : space.grids)
      if (grid.name == option) names = grid.values;
    for (const std::string& name : names) {
      try {
        read(name);
      } catch (const Error&) {
        sources.unreadable[name] = std::current_exception();
      }
    }
  };
  TrainOptions source;
  for (const auto& [name, value] : common)
    if (name == "val-split") source.validation_split = value;
  for_each("config", {},
           [&](const std::string& name) { sources.configs[name] = load_config(name); });
  for_each("data", {source.data}, [&](const std::string& name) {
    source.data = name;
    const RunData data = load_data(source, std::nullopt);
    sources.texts[name] = {describe(data.fingerprint(), data.tokenizer.unit()), data.read_otherwise,
                           data.notes};
  });
  for_each("init", {}, [&](const std::string& name) {
    sources.weights[name] = Checkpoint(fs::path(name)).describe_weights();
  });
  return sources;
}

Search::Search(const SearchOptions& options, Workers& workers)
    : options_(options),
      workers_(workers),
      common_(common_settings(options)),
      experiments_(planned_experiments(options)),
      lock_(made(options.out)),
      console_(options.quiet) {
  if (is_checkpoint(lock_.path()))
    fail_usage("--out {}: it is a checkpoint; choose another folder", options.out.string());
  for (const auto& [file, program] :
       {std::pair("config.json", "train"), {"train.tokens", "prepare"}})
    if (exists(lock_ / file))
      fail_usage("--out {}: it is a folder of {} ({} is in it); choose another one",
                 options.out.string(), program, file);
  workers_.check(here());
  make_directory(lock_ / "experiments");
  check_description();
  read_results();
  find_rung();
  if (!pending_.empty()) check_sources();
  write_file_atomically(lock_ / "search.json", description_.dump(2) + "\n");
}

bool has_object(const nlohmann::json& json, const char* name) {
  return json.is_object() && json.contains(name) && json[name].is_object();
}

/// Returns "1/4".
std::string fraction(double part) { return fmt::format("1/{}", std::lround(1 / part)); }

/// Adds an earlier search's values to those of this one. `what` and `more(name)` say what a value
/// that is another one now means.
template <class More>
void keep(const nlohmann::json& before, nlohmann::json& now, const std::string& what,
          const More& more) {
  for (const auto& [name, then] : before.items()) {
    if (now.contains(name) && now[name] != then)
      fail_usage("{} {}: {} now, {} then{}; their losses do not compare, choose another --out",
                 name_of_text(name), what, plain_text(now[name]), plain_text(then),
                 more(name_of_text(name)));
    now[name] = then;
  }
}

void Search::check_description() {
  const PathAt file = lock_ / "search.json";
  sources_ = sources_of(options_.space, common_);
  nlohmann::json texts = nlohmann::json::object(), weights = texts, configs = texts;
  for (const auto& [name, text] : sources_.texts) texts[text_of_name(name)] = text.identity;
  for (const auto& [name, identity] : sources_.weights) weights[text_of_name(name)] = identity;
  if (exists(file)) {
    const std::string shown = file.shown().string(), out = options_.out.string();
    const nlohmann::json before = parse_json(read_file(file), shown);
    if (!has_object(before, "common") || !has_object(before, "texts"))
      fail(
          "{}: there are no objects \"common\" and \"texts\"; it is not what a search wrote, "
          "choose another --out",
          shown);
    check_common(before);
    check_rungs(before);
    keep(before["texts"], texts,
         fmt::format("is no longer the text that the search in {} has trained on", out),
         [&](const std::string& name) { return sources_.texts.at(name).read_otherwise; });
    if (has_object(before, "weights"))
      keep(before["weights"], weights,
           fmt::format("no longer has the weights that the search in {} has started from", out),
           [](const std::string&) { return ""; });
    if (has_object(before, "configs")) keep_configs(before["configs"], shown);
  }
  for (const auto& [name, config] : sources_.configs) configs[text_of_name(name)] = to_json(config);
  description_ = nlohmann::json{{"common", to_json(common_)},
                                {"configs", configs},
                                {"default_warmup", default_warmup_},
                                {"stop_early", options_.stop_early},
                                {"texts", texts},
                                {"weights", weights}};
}

void Search::check_common(const nlohmann::json& before) {
  const nlohmann::json common = to_json(common_);
  nlohmann::json then = before["common"];
  if (!has_object(before, "configs")) {  // an earlier version's
    // its experiments had a warm-up of 100 steps, whatever their length
    default_warmup_ = "100";
    if (then.contains("config") && then["config"].is_string())
      then["config"] = text_of_name(
          with_absolute_paths({{"config", name_of_text(then["config"].get<std::string>())}})
              .front()
              .second);
  } else if (before.contains("default_warmup")) {
    default_warmup_ = plain_text(before["default_warmup"]);
  }
  if (then != common)
    fail_usage(
        "{} holds a search whose experiments have other settings in common ({}); choose another "
        "--out",
        options_.out.string(), describe_changes(then, common));
}

void Search::check_rungs(const nlohmann::json& before) const {
  const nlohmann::json none = 0, now = options_.stop_early,
                       &then = before.contains("stop_early") ? before["stop_early"] : none;
  const auto in_words = [&](const nlohmann::json& factor) {
    return factor == none ? "without --stop-early" : "with --stop-early=" + plain_text(factor);
  };
  if (then != now)
    fail_usage("{} holds a search {}, this one is {}; choose another --out", options_.out.string(),
               in_words(then), in_words(now));
}

void Search::keep_configs(const nlohmann::json& before, const std::string& shown) {
  for (const auto& [text, fields] : before.items()) {
    const std::string name = name_of_text(text);
    const Config config = config_from_record(fields, shown);
    if (sources_.configs.contains(name) && sources_.configs[name] != config)
      fail_usage(
          "{} is no longer the configuration that the search in {} has trained with ({}); "
          "choose another --out",
          name, options_.out.string(),
          describe_changes(to_json(config), to_json(sources_.configs[name])));
    sources_.configs[name] = config;
  }
}

void Search::check_sources() const {
  for (const auto& [name, reason] : sources_.unreadable)
    if (!sources_.configs.contains(name)) std::rethrow_exception(reason);
}

Settings Search::with_common(const Settings& settings) const {
  Settings given = common_, all;
  given.insert(given.end(), settings.begin(), settings.end());
  given = fitting_optimizer(std::move(given));
  if (!has(given, "warmup")) given.emplace_back("warmup", default_warmup_);
  for (const auto& [name, value] : given) {
    const auto config = sources_.configs.find(value);
    if (name != "config" || is_preset(value) || config == sources_.configs.end()) {
      all.emplace_back(name, value);
      continue;
    }
    const std::string base_name = preset_names().front();
    const nlohmann::json base = to_json(preset(base_name)), fields = to_json(config->second);
    all.emplace_back(name, base_name);
    for (const auto& [field, number] : fields.items())
      if (number != base[field] && !has(given, field)) all.emplace_back(field, plain_text(number));
  }
  return all;
}

void Search::read_results() {
  const PathAt file = lock_ / "results.jsonl";
  if (!exists(file)) return;
  const std::string content = read_file(file);
  std::string kept;  // without a last line that a crash has cut
  for (const std::string_view line : whole_lines(content)) {
    const std::string where =
        fmt::format("{}: line {}", file.shown().string(), results_.size() + 1);
    parse_json(line, where);  // strict checks; does not keep the order of keys
    SearchResult result = result_from_json(ordered_json::parse(line), where);
    if (!result.error.empty() && options_.retry_failed &&
        std::ranges::find(experiments_, result.settings) != experiments_.end())
      continue;
    kept.append(line).append("\n");
    results_.push_back(std::move(result));
  }
  if (kept != content) write_file_atomically(file, kept);
}

const SearchResult* Search::result_at(double rung, const Settings& settings) const {
  for (const SearchResult& result : results_)
    if (result.part >= rung && result.settings == settings) return &result;
  return nullptr;
}

std::vector<Settings> Search::best_at(double rung, const std::vector<Settings>& experiments) const {
  std::vector<SearchResult> results;
  for (const Settings& settings : experiments) results.push_back(*result_at(rung, settings));
  rank(results);
  const auto factor = static_cast<size_t>(options_.stop_early);
  results.resize((results.size() + factor - 1) / factor);
  std::vector<Settings> best;
  for (SearchResult& result : results)
    if (result.error.empty()) best.push_back(std::move(result.settings));
  return best;
}

void Search::find_rung() {
  std::vector<Settings> going_on = experiments_;
  for (const double rung : search_rungs(options_.stop_early)) {
    rung_ = rung;
    at_rung_ = going_on.size();
    for (const Settings& settings : going_on)
      if (!result_at(rung, settings)) pending_.push_back(settings);
    if (!pending_.empty() || rung == 1) return;
    going_on = best_at(rung, going_on);
  }
}

bool Search::is_in_use(const Settings& settings) {
  const std::string folder = folder_name(settings);
  const fs::path out = run_folder(folder);
  if (!fs::is_directory(out) || !is_locked(out)) return false;
  if (waited_for_.insert(folder).second)
    console_.line(fmt::format("{}: waiting for the process that is still in {}", describe(settings),
                              out.string()),
                  Style::kWarning);
  return true;
}

bool Search::start(const Settings& settings) {
  const std::string folder = folder_name(settings);
  const fs::path out = run_folder(folder);
  const bool has_ended = fs::exists(out / RunFolder::kFinal);  // in an earlier search
  if (has_ended)
    if (const SearchResult result = result_of_run(settings, folder, out, 1);
        result.error.empty() || !options_.retry_failed) {
      add(result);
      return true;
    }
  std::vector<std::string> words = {"--out=" + out.string(), "--quiet"};
  const bool resumes = !has_ended && fs::exists(out / kLatestFile);
  Settings all = with_common(settings);
  // the run keeps its resolved warm-up
  if (resumes) std::erase(all, Settings::value_type("warmup", "auto"));
  const std::vector<std::string> given = arguments(all);
  words.insert(words.end(), given.begin(), given.end());
  for (const auto& [name, value] : {std::pair("keep", "1"), {"sample-tokens", "0"}})
    if (!has(common_, name) && !has(settings, name))
      words.push_back(fmt::format("--{}={}", name, value));
  if (rung_ < 1) words.push_back(fmt::format("--until={}x", rung_));
  words.push_back(resumes ? "--resume" : "--overwrite");
  try {
    const fs::path text = output(folder);
    workers_.start(words, text);
    running_.push_back({settings, folder, text});
  } catch (const Error& error) {
    if (running_.empty()) {
      add(failed_result(settings, folder, error.what()));
      return true;
    }
    room_ = static_cast<int>(running_.size());
    if (waited_for_.insert(folder).second)
      console_.line(fmt::format("{}: {}; it waits for another experiment to end",
                                describe(settings), error.what()),
                    Style::kWarning);
    return false;
  }
  return true;
}

void Search::start_pending() {
  for (auto next = pending_.begin(); next != pending_.end() && std::ssize(running_) < room_;) {
    if (is_in_use(*next)) {
      ++next;
      continue;
    }
    const Settings settings = std::move(*next);
    next = pending_.erase(next);
    if (start(settings)) continue;
    pending_.push_front(settings);
    break;
  }
}

void Search::finish_ended() {
  for (const auto& [text, code] : workers_.take_ended()) {
    const auto place = std::ranges::find(running_, text, &Running::output);
    const Running ended = std::move(*place);
    running_.erase(place);
    finish(ended, code);
  }
}

void Search::finish(const Running& running, int code) {
  room_ = workers_.room();
  if (is_interruption(code)) {
    interrupted_.push_back(running.settings);
    return;
  }
  const fs::path text = output(running.folder);
  // Another node may have written it: a network file system looks again where a folder is opened.
  std::error_code missing;
  for (const fs::path& folder : {text.parent_path(), run_folder(running.folder)})
    fs::directory_iterator(folder, missing);
  add(code == 0 ? result_of_run(running.settings, running.folder, run_folder(running.folder), rung_)
                : failed_result(running.settings, running.folder, reason(text, code)));
  if (code == 0) fs::remove(text);
}

void Search::add(const SearchResult& result) {
  AppendFile file(lock_ / "results.jsonl");
  file.append(to_json(result).dump() + "\n");
  file.flush();
  results_.push_back(result);
  const std::string about = fmt::format("{}/{}  {}: ", done(), at_rung_, describe(result.settings));
  if (result.error.empty())
    console_.line(
        fmt::format("{}{} in {}", about, figures(result), format_duration(result.seconds)));
  else
    console_.line(fmt::format("{}failed: {}", about, result.error), Style::kWarning);
  if (!result.warning.empty()) console_.line(result.warning, Style::kWarning);
}

void Search::write_best(const std::vector<SearchResult>& results) const {
  const SearchResult& best = results.front();
  if (!best.error.empty() || best.part < 1) return;
  const Settings settings = with_absolute_paths(with_common(best.settings));
  const std::string about =
      fmt::format("{}: {} after {} steps, the best of {} experiments", describe(best.settings),
                  figures(best), best.steps, results.size());
  write_file_atomically(lock_ / "best.toml", options_file(about, settings));
}

void Search::describe_texts() {
  for (const auto& [name, text] : sources_.texts)
    for (const Note& note : text.notes)
      if (!options_.quiet)
        console_.line(note.text, note.style);
      else if (note.style == Style::kWarning && !options_.hide_warnings)
        print_warning(note.text);
}

SearchOutcome Search::run() {
  try {
    return run_experiments();
  } catch (...) {  // running experiments save their state
    workers_.stop();
    throw;
  }
}

SearchOutcome Search::run_experiments() {
  const StopSignals stop(false);
  SuspendSignal suspend;
  describe_texts();
  console_.line(describe_machine(workers_.threads()));
  if (const std::string ranks = workers_.describe_ranks(); !ranks.empty()) console_.line(ranks);
  if (!results_.empty())
    console_.line(
        fmt::format("{}: going on after {} results", options_.out.string(), results_.size()),
        Style::kHeading);
  for (; !pending_.empty(); find_rung()) {
    describe_rung();
    run_pending(stop, suspend);
    if (stop.received() != 0 || !interrupted_.empty()) break;
  }
  std::vector<SearchResult> results = newest(results_);
  rank(results);
  std::ranges::stable_sort(results, std::greater<>(), [](const SearchResult& result) {
    return result.error.empty() ? result.part : 0;
  });
  if (!results.empty()) write_best(results);
  return {std::move(results), std::move(interrupted_), here(), stop.received()};
}

void Search::describe_rung() {
  if (options_.stop_early == 0) return;
  console_.line(fmt::format("{} of {} experiments go on to {}", at_rung_, experiments_.size(),
                            rung_ < 1 ? fraction(rung_) + " of their steps" : "their ends"),
                Style::kHeading);
}

void Search::run_pending(const StopSignals& stop, SuspendSignal& suspend) {
  auto shown = Clock::now() - std::chrono::seconds(1);
  bool stopping = false;
  while (!pending_.empty() || !running_.empty()) {
    if (stop.received() != 0 && !stopping) {
      stopping = true;
      pending_.clear();
      workers_.send(SIGTERM);
      console_.line(
          "stopping: the experiments that run save their state; a second signal ends at once",
          Style::kHeading);
    }
    if (suspend.received()) {
      workers_.send(SIGSTOP);
      suspend.obey();
      workers_.send(SIGCONT);
    }
    start_pending();
    finish_ended();
    if (console_.has_status() && Clock::now() - shown > std::chrono::milliseconds(500)) {
      shown = Clock::now();
      const std::chrono::duration<double> time = shown - begin_;
      console_.status(fmt::format("{} of {} done, {} running, {}", done(), at_rung_,
                                  running_.size(), format_duration(time.count())));
    }
    Workers::pause();
  }
  console_.erase_status();
}

}  // namespace

SearchOutcome search(const SearchOptions& options, Workers& workers) {
  return Search(options, workers).run();
}

}  // namespace mmrec
