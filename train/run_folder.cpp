#include "train/run_folder.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "runtime/error.h"
#include "train/atomic_file.h"
#include "train/config_file.h"
#include "train/event_file.h"
#include "train/parse_number.h"
#include "train/strict_json.h"

namespace mmrec {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStepPrefix = "checkpoint_step_";
constexpr const char* kPrevious = "previous";
constexpr const char* kSetAside = "set_aside";

/// The step in a name such as checkpoint_step_000100.
std::optional<int64_t> step_of(const std::string& name) {
  if (!name.starts_with(kStepPrefix)) return std::nullopt;
  const std::optional<int64_t> step = parse_number<int64_t>(std::string_view(name).substr(kStepPrefix.size()));
  return step.value_or(-1) >= 0 ? step : std::nullopt;
}

/// Whether a run writes something of this name.
bool belongs_to_a_run(const std::string& name) {
  constexpr std::string_view kNames[] = {RunFolder::kBest, RunFolder::kFinal, kLatestFile, RunFolder::kMetrics, RunFolder::kLog, RunFolder::kConfig};
  return step_of(name) || is_event_file(name) || std::ranges::find(kNames, name) != std::end(kNames);
}

bool has_only_checkpoint_files(const fs::path& folder) {
  return std::ranges::all_of(fs::directory_iterator(folder),
                             [](const fs::directory_entry& entry) { return is_checkpoint_file(entry.path().filename().string()); });
}

/// Moves folders and files into a folder, where they replace what has the same name.
void move_to(const fs::path& folder, const std::vector<fs::path>& paths) {
  make_directory(folder);
  for (const fs::path& path : paths) {
    fs::remove_all(folder / path.filename());
    fs::rename(path, folder / path.filename());
  }
}

}  // namespace

bool is_checkpoint_name(const std::string& name) { return step_of(name) || name == RunFolder::kBest || name == RunFolder::kFinal; }

std::string RunFolder::step_name(int64_t step) { return fmt::format("{}{:06}", kStepPrefix, step); }

RunFolder RunFolder::for_new_run(const fs::path& path, bool overwrite) {
  make_directory(path);
  RunFolder folder(path);
  remove_leftovers(path, belongs_to_a_run);
  std::vector<fs::path> earlier;
  for (const auto& entry : fs::directory_iterator(path))
    if (belongs_to_a_run(entry.path().filename().string())) earlier.push_back(entry.path());
  if (earlier.empty()) return folder;
  if (!overwrite)
    fail_usage("{} holds a run already; go on with it by --resume, choose another --out, or say --overwrite to move it to {}", path.string(),
               (path / kPrevious).string());
  if (std::ranges::any_of(earlier, [](const fs::path& entry) { return is_checkpoint_name(entry.filename().string()); })) {
    fs::remove_all(path / kPrevious);
    move_to(path / kPrevious, earlier);
  } else {  // it ended before its first checkpoint, and what is in `previous` is worth more
    for (const fs::path& entry : earlier) fs::remove(entry);
  }
  return folder;
}

RunFolder RunFolder::for_resuming(const fs::path& path) {
  if (!fs::is_directory(path)) fail("{}: there is no such folder; give a run's folder, or a checkpoint's in one", path.string());
  RunFolder folder(path);
  remove_leftovers(path, belongs_to_a_run);
  return folder;
}

std::vector<RunFolder::Entry> RunFolder::newest_first() const {
  std::vector<Entry> entries;
  for (const auto& entry : fs::directory_iterator(path_)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_directory() || !is_checkpoint_name(name)) continue;
    const std::optional<int64_t> written = checkpoint_step(entry.path()), named = step_of(name);
    entries.push_back({entry.path(), written ? *written : named.value_or(INT64_MAX)});
  }
  // Of equal ones first that which was written last, of the options that the run ended with, and the best model last: it stays where it is,
  // whatever becomes of the others.
  const fs::path latest = latest_checkpoint(path_);
  std::ranges::sort(entries, std::greater<>(), [&](const Entry& entry) {
    const fs::path name = entry.path.filename();
    return std::tuple(entry.step, name == latest, name != kBest);
  });
  return entries;
}

std::string RunFolder::obstacle(const Checkpoint& checkpoint) const {
  if (!checkpoint.state.course) return "it does not say how its run was going on, as checkpoints of earlier versions; --init can start from it";
  const fs::path file = path_ / kConfig;
  if (!fs::exists(file)) return fmt::format("{} is missing: the folder is no run's; --init can start a new run from the checkpoint", file.string());
  const std::string difference = describe_changes(to_json(load_config(file.string())), to_json(checkpoint.config));
  return difference.empty() ? "" : fmt::format("it is of another configuration than {}: {}", file.string(), difference);
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
    refused.push_back(fmt::format("{} is passed over: {}", entry.path.string(), reason));
  }
  if (refused.empty())
    fail("{} holds no checkpoint: the run ended before its first one. Start it again with --overwrite in place of --resume", path_.string());
  fail("{} holds no checkpoint that can be resumed from:\n  {}", path_.string(), fmt::join(refused, "\n  "));
}

std::vector<std::string> RunFolder::go_back_to(const Checkpoint& checkpoint) {
  std::vector<fs::path> later;
  std::vector<std::string> names;
  for (const Entry& entry : newest_first()) {
    const bool damaged_best = entry.step == INT64_MAX && entry.path.filename() == kBest;  // the next one takes its place
    if (entry.step <= checkpoint.state.step || damaged_best) continue;
    later.push_back(entry.path);
    names.push_back(entry.path.filename().string());
  }
  if (!later.empty()) move_to(path_ / kSetAside, later);
  write_file_atomically(path_ / kLatestFile, checkpoint.folder.filename().string() + "\n");
  return names;
}

void RunFolder::save(const std::string& name, const Config& config, const Tokenizer& tokenizer, const Parameters& parameters, const RunState& state) {
  save_checkpoint(path_ / name, config, tokenizer, parameters, state);
  if (name != kBest) write_file_atomically(path_ / kLatestFile, name + "\n");
}

void RunFolder::remove_old(int keep) {
  std::vector<std::pair<int64_t, fs::path>> by_step;
  for (const auto& entry : fs::directory_iterator(path_))
    if (const std::optional<int64_t> step = step_of(entry.path().filename().string()); step && entry.is_directory())
      by_step.emplace_back(*step, entry.path());
  std::ranges::sort(by_step, std::greater<>());
  for (size_t i = static_cast<size_t>(keep); i < by_step.size(); ++i)
    if (has_only_checkpoint_files(by_step[i].second)) remove_directory_atomically(by_step[i].second);
}

}  // namespace mmrec
