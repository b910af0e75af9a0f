#include "train/run/folder.h"

#include <fcntl.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "model/config_file.h"
#include "support/atomic_file.h"
#include "support/error.h"
#include "support/parse_number.h"
#include "support/strict_json.h"
#include "train/run/event_file.h"
#include "train/run/metrics.h"

namespace mmrec {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStepPrefix = "checkpoint_step_";
constexpr const char* kPrevious = "previous";
// becomes `previous` when it holds all of the run
constexpr const char* kMoving = "previous.moving";
constexpr const char* kReplaced = "previous.replaced";  // the old `previous`, to be removed
constexpr const char* kSetAside = "set_aside";
constexpr const char* kRun = "run";  // field of config.json with the run's id

/// Returns the step in a name such as checkpoint_step_000100.
std::optional<int64_t> step_of(const std::string& name) {
  if (!name.starts_with(kStepPrefix)) return std::nullopt;
  const std::optional<int64_t> step =
      parse_number<int64_t>(std::string_view(name).substr(kStepPrefix.size()));
  return step.value_or(-1) >= 0 ? step : std::nullopt;
}

/// Returns whether a run writes files or folders of this name.
bool belongs_to_a_run(const std::string& name) {
  constexpr std::string_view kNames[] = {RunFolder::kBest, RunFolder::kFinal,
                                         kLatestFile,      RunFolder::kMetrics,
                                         RunFolder::kLog,  RunFolder::kConfig};
  if (name == std::string(RunFolder::kMetrics) + kUnreadable) return true;
  return step_of(name) || is_event_file(name) ||
         std::ranges::find(kNames, name) != std::end(kNames);
}

/// Returns whether a killed process may leave a partial copy of something with this name in a run's
/// folder.
bool may_be_left(const std::string& name) {
  return belongs_to_a_run(name) || name == kPrevious || name == kMoving || name == kReplaced;
}

bool has_only_checkpoint_files(const PathAt& folder) {
  return std::ranges::all_of(names_in(folder), is_checkpoint_file);
}

/// Moves a file or folder. If an earlier, killed move has left a copy at the destination, the copy
/// is complete: removes the source only.
void move_once(const PathAt& from, const PathAt& to) {
  if (exists(to))
    remove_tree(from);
  else
    move_tree(from, to);
}

/// Moves a run to `previous`. A killed move can be continued after any step: (1) move the run's
/// parts to `previous.moving`, (2) move the old `previous` to `previous.replaced`, (3) rename
/// `previous.moving` to `previous`, (4) remove `previous.replaced`.
void move_to_previous(const PathAt& folder, const std::vector<std::string>& names) {
  const PathAt moving = folder / kMoving, previous = folder / kPrevious,
               replaced = folder / kReplaced;
  if (!exists(moving)) remove_tree(replaced);
  make_directory(moving);
  for (const std::string& name : names) move_once(folder / name, moving / name);
  if (exists(previous)) move_once(previous, replaced);
  rename_file(moving, previous);
  remove_tree(replaced);
}

void undo_move_to_previous(const PathAt& folder) {
  const PathAt moving = folder / kMoving, previous = folder / kPrevious,
               replaced = folder / kReplaced;
  if (!exists(moving)) return remove_tree(replaced);
  for (const std::string& name : names_in(moving)) {
    remove_tree(folder / name);  // at most a partial copy
    move_tree(moving / name, folder / name);
  }
  if (exists(replaced)) {
    remove_tree(previous);
    rename_file(replaced, previous);
  }
  remove_tree(moving);
}

/// Returns whether a run's entry is a checkpoint after at least one step. The checkpoint of a run
/// that was stopped at once is not worth replacing another run in `previous`.
bool has_steps(const std::string& name) { return is_checkpoint_name(name) && step_of(name) != 0; }

/// Reads config.json: the configuration and the run's id.
std::pair<Config, std::string> read_run_config(const PathAt& file) {
  const std::string shown = file.shown().string();
  nlohmann::json fields = parse_json(read_file(file), shown);
  std::string id;
  if (fields.is_object() && fields.contains(kRun)) {
    if (!fields[kRun].is_string()) fail("{}: field '{}' must be a string", shown, kRun);
    id = fields[kRun];
    fields.erase(kRun);
  }
  return {config_from_record(fields, shown), id};
}

/// Throws a UsageError if a folder must not be used for runs: another program made it, or it has
/// files with a run's file names but no run. A run writes config.json first; until then its other
/// files are empty.
void check_is_free(const PathAt& folder, const std::vector<std::string>& names) {
  const std::string shown = folder.shown().string();
  for (const auto& [file, program] :
       {std::pair("train.tokens", "prepare"), {"search.json", "search"}})
    if (exists(folder / file))
      fail_usage("--out {}: it is a folder of {} ({} is in it); choose another one", shown, program,
                 file);
  if (exists(folder / kMoving) || std::ranges::any_of(names, [&](const std::string& name) {
        return is_checkpoint(folder / name);
      }))
    return;
  const PathAt config = folder / RunFolder::kConfig;
  if (exists(config)) {
    try {
      read_run_config(config);
      return;
    } catch (const Error& error) {
      fail_usage("--out {}: its {} is no run's, choose another folder: {}", shown,
                 RunFolder::kConfig, error.what());
    }
  }
  for (const std::string& name : names)
    if (type_of(folder / name) != fs::file_type::regular ||
        FileDescriptor("read", folder / name, O_RDONLY).size() > 0)
      fail_usage(
          "--out {}: it holds '{}' and is not a run's folder, for there is no {}; choose another "
          "one",
          shown, name, RunFolder::kConfig);
}

/// Returns the names of an earlier run's files and folders. Throws a UsageError if a new run must
/// not take the folder; `overwrite`: it may take an earlier run's.
std::vector<std::string> earlier_run(const PathAt& folder, bool overwrite) {
  std::vector<std::string> names;
  for (std::string& name : names_in(folder))
    if (belongs_to_a_run(name)) names.push_back(std::move(name));
  check_is_free(folder, names);
  const fs::path shown = folder.shown();
  if ((exists(folder / kMoving) || !names.empty()) && !overwrite)
    fail_usage(
        "{} holds a run already; go on with it by --resume, choose another --out, or say "
        "--overwrite to move it to {}",
        shown.string(), (shown / kPrevious).string());
  return names;
}

}  // namespace

bool is_checkpoint_name(const std::string& name) {
  return step_of(name) || name == RunFolder::kBest || name == RunFolder::kFinal;
}

std::vector<fs::path> runs_in(const fs::path& folder) {
  std::vector<fs::path> runs;
  if (!fs::is_directory(folder)) return runs;
  for (const fs::directory_entry& run : fs::directory_iterator(folder))
    if (fs::is_regular_file(run.path() / RunFolder::kMetrics)) runs.push_back(run.path());
  std::ranges::sort(runs);
  return runs;
}

fs::path newest_run(const fs::path& folder) {
  fs::path newest;
  fs::file_time_type newest_time;
  for (const fs::path& run : runs_in(folder)) {
    if (std::ranges::none_of(names_in(run), [&](const std::string& name) {
          return is_checkpoint_name(name) && is_checkpoint(run / name);
        }))
      continue;
    const fs::file_time_type time = fs::last_write_time(run / RunFolder::kMetrics);
    if (newest.empty() || time > newest_time) {
      newest = run;
      newest_time = time;
    }
  }
  return newest;
}

std::string RunFolder::step_name(int64_t step) { return fmt::format("{}{:06}", kStepPrefix, step); }

void RunFolder::check_new(const fs::path& path, bool overwrite) {
  if (is_checkpoint(path))
    fail_usage("--out {}: it is a checkpoint, in which a run has no place; choose another folder",
               path.string());
  if (fs::is_directory(path)) earlier_run(RunFolder(path).root(), overwrite);
}

RunFolder RunFolder::for_new_run(const fs::path& path, bool overwrite) {
  check_new(path, overwrite);
  make_directory(path);
  RunFolder folder(path);
  const PathAt here = folder.root();
  remove_leftovers(here, may_be_left);
  std::vector<std::string> earlier = earlier_run(here, overwrite);
  if (exists(here / kMoving) || std::ranges::any_of(earlier, has_steps)) {
    move_to_previous(here, earlier);
  } else {  // It ended before its first checkpoint: the run in `previous` is worth more.
    // Remove config.json last: it marks the folder as a run's.
    std::ranges::partition(earlier, [](const std::string& name) { return name != kConfig; });
    for (const std::string& name : earlier) remove_tree(here / name);
  }
  folder.id_ = unique_token();
  return folder;
}

RunFolder RunFolder::for_resuming(const fs::path& path) {
  check_is_directory(path, "give a run's folder, or a checkpoint's in one");
  RunFolder folder(path);
  undo_move_to_previous(folder.root());
  remove_leftovers(folder.root(), may_be_left);
  if (exists(folder / kSetAside)) remove_leftovers(folder / kSetAside, belongs_to_a_run);
  if (exists(folder / kConfig)) folder.id_ = read_run_config(folder / kConfig).second;
  return folder;
}

void RunFolder::write_config(const Config& config) const {
  nlohmann::json fields = to_json(config);
  fields[kRun] = id_;
  write_file_atomically(*this / kConfig, fields.dump(2) + "\n");
}

std::vector<RunFolder::Entry> RunFolder::newest_first() const {
  std::vector<Entry> entries;
  for (const std::string& name : names_in(root())) {
    if (!is_checkpoint_name(name) || !is_directory(*this / name)) continue;
    const std::optional<int64_t> written = checkpoint_step(*this / name), named = step_of(name);
    entries.push_back({*this / name, written ? *written : named.value_or(INT64_MAX)});
  }
  // Order of equal steps: first the latest written, whose options are those the run ended with;
  // last the best model, which stays in place whatever happens to the others.
  const fs::path latest = latest_checkpoint(root());
  std::ranges::sort(entries, std::greater<>(), [&](const Entry& entry) {
    const std::string name = entry.path.name();
    return std::tuple(entry.step, name == latest, name != kBest);
  });
  return entries;
}

std::string RunFolder::obstacle(const Checkpoint& checkpoint) const {
  if (!checkpoint.has_moments())
    return fmt::format("it {}; --init can start a new run from it", kWithoutMoments);
  if (!checkpoint.state.progress)
    return "it does not say how its run was going on, as checkpoints of earlier versions; --init "
           "can start from it";
  const PathAt file = *this / kConfig;
  const std::string shown = file.shown().string();
  if (!exists(file))
    return fmt::format(
        "{} is missing: the folder is no run's; --init can start a new run from the checkpoint",
        shown);
  // a growing run has checkpoints of several sizes; its id tells them from another run's
  const bool grows = !checkpoint.state.progress->options.grow.empty();
  const std::string difference =
      grows ? ""
            : describe_changes(to_json(read_run_config(file).first), to_json(checkpoint.config));
  if (!difference.empty())
    return fmt::format("it is of another configuration than {}: {}", shown, difference);
  return checkpoint.state.run == id_
             ? ""
             : fmt::format("it is of another run than {}; --init can start a new run from it",
                           shown);
}

RunFolder::Newest RunFolder::newest_checkpoint() const {
  std::vector<std::string> refused;
  for (const Entry& entry : newest_first()) {
    std::string reason;
    try {
      Checkpoint checkpoint(entry.path);
      reason = obstacle(checkpoint);
      if (reason.empty()) return {std::move(checkpoint), std::move(refused)};
    } catch (const Error& error) {
      reason = error.what();
    }
    refused.push_back(fmt::format("{} is passed over: {}", entry.path.shown().string(), reason));
  }
  const std::string shown = path().string();
  if (refused.empty() && !exists(*this / kConfig))
    fail("{} is not a run's folder: there is no {}; give the --out of train", shown, kConfig);
  if (refused.empty())
    fail(
        "{} holds no checkpoint: the run ended before its first one. Start it again with "
        "--overwrite in place of --resume",
        shown);
  fail("{} holds no checkpoint that can be resumed from:\n  {}", shown, fmt::join(refused, "\n  "));
}

std::vector<std::string> RunFolder::go_back_to(const Checkpoint& checkpoint) {
  std::vector<std::string> later;
  for (const Entry& entry : newest_first()) {
    // the next best model replaces it
    const bool damaged_best = entry.step == INT64_MAX && entry.path.name() == kBest;
    if (entry.step > checkpoint.state.step && !damaged_best) later.push_back(entry.path.name());
  }
  if (!later.empty()) make_directory(*this / kSetAside);
  for (const std::string& name : later) {
    const PathAt aside = *this / kSetAside / name;
    remove_tree(aside);
    move_tree(*this / name, aside);
  }
  write_file_atomically(*this / kLatestFile, checkpoint.folder.filename().string() + "\n");
  return later;
}

void RunFolder::save(const std::string& name, const Config& config, const Tokenizer& tokenizer,
                     const Parameters& parameters, const RunState& state, const Tensor& carried,
                     const MomentArrays& moments) {
  save_checkpoint(*this / name, config, tokenizer, parameters, state, carried, moments);
  if (name != kBest) write_file_atomically(*this / kLatestFile, name + "\n");
}

void RunFolder::remove_old(int keep) {
  std::vector<std::pair<int64_t, PathAt>> by_step;
  for (const std::string& name : names_in(root()))
    if (const std::optional<int64_t> step = step_of(name); step && is_directory(*this / name))
      by_step.emplace_back(*step, *this / name);
  std::ranges::sort(by_step, std::greater<>(), &std::pair<int64_t, PathAt>::first);
  for (size_t i = static_cast<size_t>(keep); i < by_step.size(); ++i)
    if (has_only_checkpoint_files(by_step[i].second))
      remove_directory_atomically(by_step[i].second);
}

}  // namespace mmrec
