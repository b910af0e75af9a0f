#include "train/run/follow.h"

#include <fmt/ranges.h>

#include <csignal>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/config.h"
#include "model/config_file.h"
#include "runtime/threads.h"
#include "support/atomic_file.h"
#include "support/error.h"
#include "support/exceptions.h"
#include "train/data/sha256.h"
#include "train/ranks/shared_file.h"
#include "train/run/folder.h"
#include "train/run/options_json.h"
#include "train/run/precision.h"
#include "train/run/start.h"
#include "train/run/trainer.h"

namespace mmrec {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// Identifies the program, and so its kernels and schedules.
const std::string& program_id() {
  static const std::string id = sha256_of_file("/proc/self/exe");
  return id;
}

/// Makes the trainer that the leader describes. Returns null, and in `problem` who cannot and why.
std::unique_ptr<Trainer> make_trainer(const json& wanted, const std::string& tokenizer_file,
                                      Ranks& ranks, std::string& problem) {
  try {
    if (wanted.at("program") != program_id())
      fail("it is another build of the program than the leader's");
    TrainOptions options = options_from_json(wanted.at("options"), "the leader's options");
    check_same_bits(options.precision, "the leader");
    options.config = config_from_record(wanted.at("config"), "the leader's configuration");
    const auto tokenizer =
        Tokenizer::parse(tokenizer_file, wanted.at("tokenizer").get<std::string>());
    RunData data = load_data(options, tokenizer);
    if (const std::string own = describe(data.fingerprint(), data.tokenizer.unit());
        own != wanted.at("data"))
      fail("{} has {}, and the leader's {}", options.data, own,
           wanted.at("data").get<std::string>());
    return std::make_unique<Trainer>(options, std::move(data), wanted.at("begin").get<int64_t>(),
                                     ranks);
  } catch (const std::exception& error) {
    problem = fmt::format("{}: {}", ranks.name(), in_words(error));
    return nullptr;
  }
}

void obey(Ranks& ranks) {
  std::unique_ptr<Trainer> trainer;
  for (;;) {
    try {
      switch (ranks.broadcast_value(Command::kEnd)) {
        case Command::kLook:
          ranks.gather(appears(ranks.broadcast_text("")) ? "" : ranks.name());
          break;
        case Command::kMake: {
          const json wanted = json::parse(ranks.broadcast_text(""));
          const std::string tokenizer = ranks.broadcast_text("");
          std::string problem;
          trainer.reset();
          trainer = make_trainer(wanted, tokenizer, ranks, problem);
          ranks.gather(problem);
          break;
        }
        case Command::kShare:
          trainer->share();
          break;
        case Command::kStep:
          trainer->step();
          break;
        case Command::kMeasure:
          trainer->measure();
          break;
        case Command::kGatherMoments:
          trainer->gather_moments(0);  // the leader says which
          break;
        case Command::kScatterMoments:
          trainer->scatter_moments(0);
          break;
        case Command::kEnd:
          return;
      }
    } catch (const Interrupted&) {  // the leader's stop; its next command says what comes
    }
  }
}

}  // namespace

void check_is_shared(const fs::path& run, Ranks& ranks) {
  if (!ranks.are_many()) return;
  fs::path existing = fs::absolute(run);
  while (!exists(PathAt(existing))) existing = existing.parent_path();
  // under this name RunFolder removes what a kill may leave
  const TemporaryFile file(partial_name(existing / RunFolder::kConfig));
  ranks.broadcast_value(Command::kLook);
  ranks.broadcast_text(file.path());
  const std::vector<std::string> blind = ranks.gather_words("");
  if (!blind.empty())
    fail_usage(
        "--out {}: this folder of {} is not seen by {}; the run would be lost with one node: give "
        "an --out on a file system that all nodes share",
        run.string(), ranks.name(), fmt::join(blind, ", "));
}

void have_followers_made(const TrainOptions& options, const Tokenizer& tokenizer,
                         const DataFingerprint& data, int64_t begin, Ranks& ranks) {
  ranks.broadcast_value(Command::kMake);
  ranks.broadcast_text(json{
      {"program", program_id()},
      {"options", to_json(to_save(options))},
      {"config", to_json(options.config)},
      {"tokenizer", tokenizer.file_name()},
      {"data", describe(data, tokenizer.unit())},
      {"begin", begin}}.dump());
  ranks.broadcast_text(tokenizer.content());
  const std::vector<std::string> problems = ranks.gather_words("");
  if (!problems.empty())
    fail_usage("the ranks cannot train together:\n{}", fmt::join(problems, "\n"));
}

void follow(Ranks& ranks) {
  // The leader decides when the run stops, and saves it.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) std::signal(signal, SIG_IGN);
  run_with_threads([&] { obey(ranks); });
}

void end_following(Ranks& ranks) {
  if (ranks.are_many()) ranks.broadcast_value(Command::kEnd);
}

}  // namespace mmrec
