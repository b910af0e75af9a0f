#include "train/search/workers.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <numeric>
#include <thread>

#include "support/atomic_file.h"
#include "support/error.h"
#include "support/exceptions.h"
#include "support/stop_signals.h"
#include "train/data/sha256.h"
#include "train/ranks/shared_file.h"

namespace mmrec {

namespace {

namespace fs = std::filesystem;

/// Between two questions who has ended; all ranks sleep meanwhile.
constexpr auto kMoment = std::chrono::milliseconds(20);

// Texts for other ranks: words that end in a zero byte, which no path and no argument has.

std::string packed(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text.append(word).push_back('\0');
  return text;
}

std::vector<std::string> unpacked(const std::string& text) {
  std::vector<std::string> words;
  for (size_t begin = 0, end; (end = text.find('\0', begin)) != text.npos; begin = end + 1)
    words.push_back(text.substr(begin, end - begin));
  return words;
}

}  // namespace

Workers::Workers(Ranks& ranks, int jobs, int threads)
    : ranks_(ranks), jobs_(jobs), threads_(threads), running_(static_cast<size_t>(ranks.size())) {}

Workers::~Workers() {
  if (ranks_.leads()) ranks_.broadcast_value(Command::kEnd);
}

void Workers::obey() noexcept {
  const StopSignals stop(false);
  const SuspendSignal suspend;
  for (;;) {
    switch (ranks_.broadcast_value(Command::kEnd)) {
      case Command::kCheck:
        ranks_.gather(check_here(unpacked(ranks_.broadcast_text(""))));
        break;
      case Command::kStart: {
        const int rank = ranks_.broadcast_value(0);
        const std::vector<std::string> order = unpacked(ranks_.broadcast_text(""));
        ranks_.gather(rank == ranks_.rank() ? start_here(order) : "");
        break;
      }
      case Command::kSend:
        send_here(ranks_.broadcast_value(0));
        break;
      case Command::kTakeEnded:
        ranks_.gather(take_ended_here());
        pause();
        break;
      case Command::kEnd:
        return;
    }
  }
}

void Workers::check(const fs::path& folder) {
  const fs::path train = sibling_program("train");
  if (!ranks_.are_many()) return;
  const fs::path mark = folder / (".ranks-" + unique_token());
  const std::string order = packed({mark.string(), sha256_of_file(train)});
  const TemporaryFile file(mark);
  ranks_.broadcast_value(Command::kCheck);
  ranks_.broadcast_text(order);
  const std::vector<std::string> problems = ranks_.gather_words("");
  if (!problems.empty())
    fail_usage("the ranks cannot search together:\n{}", fmt::join(problems, "\n"));
}

std::string Workers::check_here(const std::vector<std::string>& order) const {
  const fs::path mark = order[0];
  std::string problem;
  try {
    const fs::path train = sibling_program("train");
    if (!appears(mark))
      problem = fmt::format(
          "does not see what rank 0 writes to --out ({}); choose a folder that all nodes share",
          fs::absolute(mark).parent_path().string());
    else if (sha256_of_file(train) != order[1])
      problem =
          fmt::format("{} is another build than rank 0's; copy that to all nodes", train.string());
  } catch (const std::exception& error) {
    problem = in_words(error);
  }
  return problem.empty() ? "" : fmt::format("{}: {}", ranks_.name(), problem);
}

void Workers::start(const std::vector<std::string>& arguments, const fs::path& output) {
  std::vector<std::string> order = {output.string()};
  order.insert(order.end(), arguments.begin(), arguments.end());
  std::vector<int> by_load(running_.size());
  std::iota(by_load.begin(), by_load.end(), 0);
  const auto load = [&](int rank) { return running_[static_cast<size_t>(rank)]; };
  std::ranges::stable_sort(by_load, {}, load);
  std::string problem;
  for (const int rank : by_load) {
    if (load(rank) == jobs_) break;
    ranks_.broadcast_value(Command::kStart);
    ranks_.broadcast_value(rank);
    ranks_.broadcast_text(packed(order));
    problem =
        ranks_.gather(rank == ranks_.rank() ? start_here(order) : "")[static_cast<size_t>(rank)];
    if (problem.empty()) {
      ++running_[static_cast<size_t>(rank)];
      return;
    }
  }
  fail("{}", problem);
}

std::string Workers::start_here(const std::vector<std::string>& order) {
  Inheritance inheritance{.environment = Ranks::environment_of_others()};
  // mpirun kills a rank soon after it has told it to stop. The rank has passed that on to its
  // processes: a second SIGTERM would end them before they have saved their state.
  if (ranks_.are_many()) inheritance.last_signal = SIGPIPE;
  try {
    std::vector<std::string> words = {sibling_program("train").string(),
                                      fmt::format("--threads={}", std::max(threads_ / jobs_, 1))};
    words.insert(words.end(), order.begin() + 1, order.end());
    own_.push_back({order[0], ChildProcess(words, order[0], {}, inheritance)});
    return "";
  } catch (const std::exception& error) {
    return in_words(error);
  }
}

void Workers::send(int signal) {
  ranks_.broadcast_value(Command::kSend);
  ranks_.broadcast_value(signal);
  send_here(signal);
}

void Workers::send_here(int signal) const {
  for (const Own& own : own_) own.process.send(signal);
}

std::vector<Workers::Ended> Workers::take_ended() {
  ranks_.broadcast_value(Command::kTakeEnded);
  const std::vector<std::string> answers = ranks_.gather(take_ended_here());
  std::vector<Ended> all;
  for (size_t rank = 0; rank < answers.size(); ++rank) {
    const std::vector<std::string> words = unpacked(answers[rank]);
    for (size_t i = 0; i < words.size(); i += 2, --running_[rank])
      all.push_back({words[i], std::stoi(words[i + 1])});
  }
  return all;
}

std::string Workers::take_ended_here() {
  std::vector<std::string> ended;
  std::erase_if(own_, [&](Own& own) {
    const std::optional<int> code = own.process.poll();
    if (code) ended.insert(ended.end(), {own.output, std::to_string(*code)});
    return code.has_value();
  });
  return packed(ended);
}

void Workers::stop() {
  send(SIGTERM);
  while (std::ranges::any_of(running_, [](int processes) { return processes > 0; })) {
    take_ended();
    pause();
  }
}

void Workers::pause() { std::this_thread::sleep_for(kMoment); }

}  // namespace mmrec
