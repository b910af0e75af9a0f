#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <type_traits>

#include "model/architecture.h"
#include "model/config.h"
#include "runtime/threads.h"
#include "support/console.h"
#include "support/did_you_mean.h"
#include "support/error.h"
#include "support/names.h"
#include "support/stop_signals.h"
#include "train/data/prepare.h"
#include "train/data/split.h"
#include "train/data/tokenizer.h"
#include "train/programs/command_line.h"
#include "train/programs/ranks_of_program.h"
#include "train/ranks/ranks.h"
#include "train/run/checkpoint.h"
#include "train/run/data.h"
#include "train/run/folder.h"
#include "train/run/follow.h"
#include "train/run/new_model.h"
#include "train/run/options_file.h"
#include "train/run/plan.h"
#include "train/run/recipe.h"
#include "train/run/recorded_run.h"

using namespace mmrec;

namespace {

/// Reads the --options file with parse_options_file(). Command line beats file; CLI11 implements
/// that per option. Exceptions handled here:
/// - The file's --set fields, and its --arch and --memory, which are such fields, apply together
/// with the command line's, which come after them.
/// - With one of kLengthOptions on the command line, the file's are ignored, but for --grow, which
/// says more than the length.
/// - With --init, the file's --vocab is ignored.
/// - With --resume, the file's --warmup auto, which search always writes, is ignored: the run keeps
/// its warm-up.
class OptionsFile : public CLI::ConfigBase {
 public:
  explicit OptionsFile(CLI::App& app)
      : app_(app),
        fields_(app.get_option("--set")),
        init_(app.get_option("--init")),
        resume_(app.get_option("--resume")) {}

  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override {
    std::vector<CLI::ConfigItem> rest;
    std::vector<std::string> fields;
    const auto is_given = [&](const char* name) {
      return app_.get_option(fmt::format("--{}", name))->count() > 0;
    };
    const bool has_length = std::ranges::any_of(kLengthOptions, is_given),
               resumes = resume_->count() > 0;
    const std::string file = app_.get_config_ptr()->as<std::string>(),
                      text(std::istreambuf_iterator<char>(input), {});
    for (auto& [name, values] : parse_options_file(text, "--options " + file)) {
      check(name, values);
      const bool is_length = name != "grow" && std::ranges::count(kLengthOptions, name) > 0;
      if (name == "set")
        fields.insert(fields.end(), values.begin(), values.end());
      else if (name == "arch" || name == "memory")
        fields.push_back(fmt::format("{}={}", name, fmt::join(values, "")));
      else if (!(is_length && has_length) && !(name == "vocab" && init_->count() > 0) &&
               !(name == "warmup" && values[0] == "auto" && resumes))
        rest.push_back({.parents = {}, .name = name, .inputs = std::move(values)});
    }
    const std::vector<std::string> given = fields_->results();
    fields.insert(fields.end(), given.begin(), given.end());
    fields_->clear();
    fields_->add_result(fields);
    return rest;
  }

 private:
  void check(const std::string& name, const std::vector<std::string>& values) const {
    std::vector<std::string> known;
    for (const CLI::Option* option : app_.get_options())
      known.insert(known.end(), option->get_lnames().begin(), option->get_lnames().end());
    if (std::ranges::find(known, name) == known.end())
      fail_usage("unknown option {} in the file of --options{}", name, did_you_mean(name, known));
    const CLI::Option* option = app_.get_option("--" + name);
    if (!option->get_configurable())
      fail_usage("option {} is for the command line alone; take it out of the file of --options",
                 name);
    if (option->get_expected_max() <= 1 && values.size() != 1)
      fail_usage("option {} in the file of --options has {} values; give it one", name,
                 values.size());
  }

  const CLI::App& app_;
  CLI::Option* fields_;
  const CLI::Option *init_, *resume_;
};

/// Adds the options of the table; their values go to `given`.
void add_options(CLI::App& app, TrainOptions& given) {
  for (const TrainOption& row : train_option_table()) {
    if (!row.help) continue;
    const std::string name = fmt::format("--{}", row.name);
    row.visit(
        [&]<class T>(T& value) {
          if constexpr (std::is_same_v<T, bool>) {
            app.add_flag(name, value, row.help);
          } else if constexpr (!std::is_arithmetic_v<T>) {
            app.add_option(name, value, row.help);
          } else if (row.form == TrainOption::Form::kPlain) {
            number(app, name, value, row.help, row.bounds);
          } else if constexpr (std::is_same_v<T, int64_t>) {
            number_or_auto(app, name, value, kAuto, row.help, row.bounds);
          } else if constexpr (std::is_same_v<T, int>) {
            app.add_option_function<std::string>(
                name,
                [&value](const std::string& text) { value = parse_vocabulary(text, kConfigured); },
                row.help);
          }
        },
        given);
    if (!recipe_chooses(row.name)) continue;
    CLI::Option* option = app.get_option(name);
    option->description(fmt::format("{} (default: the recipe's; documented: {})", row.help,
                                    option->get_default_str()));
    option->default_str("");
  }
}

/// The command line, and what it asks for.
class TrainCommand {
 public:
  explicit TrainCommand(Program& program);
  /// Returns the signal that has stopped the run, or 0.
  int run(const char* program_path, Ranks& ranks);

 private:
  int lead(const char* program_path, Ranks& ranks);
  bool is_given(const char* name) const {
    return program_.app().get_option(fmt::format("--{}", name))->count() > 0;
  }
  /// Whether nothing says which run is to go on.
  bool resumes_newest() const {
    return is_given("resume") && resumed_.empty() && !is_given("data") && !is_given("config") &&
           given_.grow.empty();
  }
  ModelRequest model() const { return {config_, is_given("config"), fields_}; }
  /// Makes the folder that --data is of texts that were `named` there. Returns the signal that has
  /// stopped it, or 0.
  int prepare_texts(PrepareOptions texts, const std::string& named);
  /// Returns the name of the run's folder where --out says none: what tells runs apart.
  std::filesystem::path default_name() const;
  void check_plan() const;
  int resume(Ranks& ranks) const;
  /// Makes the given options replace those that the resumed run began with.
  void override_run(TrainOptions& run) const;

  Program& program_;
  TrainOptions given_;
  std::string config_ = "tiny", arch_, memory_, resumed_;
  std::vector<std::string> fields_;
  bool only_plan_ = false, json_ = false;
  Scale scale_;  // of --plan
};

TrainCommand::TrainCommand(Program& program) : program_(program) {
  given_.vocabulary = kConfigured;
  given_.recipe = "auto";
  CLI::App& app = program.app();
  app.add_option("--config", config_, "a preset (tiny, mini, ..) or a JSON file of fields");
  app.add_option("--set", fields_, "field=value of the configuration; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--arch", arch_,
                 fmt::format("the blocks' architecture: {} (default: mmrec)",
                             fmt::join(architecture_names(), " or ")));
  app.add_option("--memory", memory_,
                 "of mmrec, random: the memory's slots are drawn anew for each step; learned: they "
                 "are parameters (default: random)");
  add_options(app, given_);
  app.add_option("--resume", resumed_,
                 "go on with the run in --out, or with the run or from the checkpoint that is "
                 "named, or else with the run in checkpoints/ that trained last; the options are "
                 "those that it was begun with but for those that are given")
      ->expected(0, 1);
  app.add_flag("--plan", only_plan_,
               "print what the run would take of memory, disk and time, without beginning it");
  app.add_flag("--json", json_, "with --plan: print it as JSON");
  number(app, "--ranks", scale_.ranks,
         "with --plan: what a step takes when mpirun has started so many, and up to as many",
         {.at_least = 1, .at_most = kMostRanks})
      ->default_str("");
  app.add_option("--network", scale_.network,
                 "with --ranks: the rate of a node's link and the delay to another node, one way, "
                 "as 25Gbps,20us (default: all ranks are on this machine)");
  number(app, "--ranks-per-node", scale_.ranks_per_node,
         "with --network: ranks that share a node like this machine, and its link",
         {.at_least = 1, .at_most = kMostRanks});
  app.set_config("--options", "",
                 "a file of options, as search writes it: lines of name = \"value\"; the command "
                 "line's count before them");
  app.config_formatter(std::make_shared<OptionsFile>(app));
}

std::filesystem::path TrainCommand::default_name() const {
  if (!given_.grow.empty()) return "grown";
  if (is_given("config") || given_.data == "sample") return std::filesystem::path(config_).stem();
  std::filesystem::path text = absolute_data(given_.data);
  if (!text.has_filename()) text = text.parent_path();  // trailing slash
  const bool is_file = kind_of_file(text) == std::filesystem::file_type::regular;
  return is_file ? text.stem() : text.filename();
}

int TrainCommand::prepare_texts(PrepareOptions texts, const std::string& named) {
  if (given_.tokenizer != "auto")
    texts.tokens = parse_token_kind(given_.tokenizer);
  else if (!has_recipe(given_))
    texts.tokens = TokenKind::kCharacter;
  texts.vocabulary = std::max(given_.vocabulary, 0);
  texts.val_split = parse_validation_split(given_.validation_split);
  given_.validation_split = TrainOptions().validation_split;  // that is done then
  RunFolder::check_new(given_.out, given_.overwrite);         // before the texts are read
  Console console(given_.quiet);
  console.line(
      fmt::format("--data {} becomes the folder {}, as prepare makes it", named, given_.data));
  const StopSignals signals(/*announce=*/false);
  try {
    prepare(texts, console, stop_at(signals, texts.out));
  } catch (const Error& error) {
    if (signals.received() == 0) throw;
    print(stderr, fmt::format("{}\n", error.what()));
  }
  return signals.received();
}

void TrainCommand::check_plan() const {
  if (json_ && !only_plan_)
    fail_usage(
        "--json is for --plan; a run's figures are in its metrics.jsonl, and 'report --json' has "
        "them");
  for (const char* name : {"ranks", "network", "ranks-per-node"})
    if (!only_plan_ && is_given(name))
      fail_usage("--{} is for --plan; mpirun -n starts a run's ranks", name);
  if (is_given("network")) parse_network(scale_.network);
  if (only_plan_ && (is_given("resume") || is_given("init")))
    fail_usage("--plan is for new runs from the beginning; leave out --resume and --init");
}

int TrainCommand::resume(Ranks& ranks) const {
  if (given_.overwrite || is_given("init"))
    fail_usage(
        "--resume goes on with a run; --overwrite and --init begin a new one: leave out one or "
        "the other");
  return resume_training(
      resumed_.empty() ? given_.out : std::filesystem::path(resumed_),
      [&](TrainOptions& run) { override_run(run); }, ranks);
}

void TrainCommand::override_run(TrainOptions& run) const {
  std::error_code missing;  // a missing folder is a different folder too
  if (!resumed_.empty() && is_given("out") &&
      !std::filesystem::equivalent(given_.out, run.out, missing))
    fail_usage(
        "--out {}: {} is of the run in {} and goes on there; leave --out out, or start a new run "
        "with --init",
        given_.out.string(), resumed_, run.out.string());
  if ((is_given("time") && given_.time != run.time) ||
      (is_given("recipe") && given_.recipe != run.recipe))
    fail_usage(
        "--time and --recipe are for new runs; a run that goes on keeps its settings, and --steps "
        "changes its length");
  for (const char* name : {"epochs", "steps"})
    if (!run.grow.empty() && is_given(name))
      fail_usage("--{}: the steps of a growing run are those of --grow {}", name, run.grow);
  override_options(run, given_, given_.given);
  run.program = given_.program;
  run.config = requested_config(model(), run.config);
  if (run.vocabulary == kConfigured) run.vocabulary = run.config.vocab_size;
  if (is_given("val-split")) check_can_be_split(run.data, run.validation_split);
}

int TrainCommand::run(const char* program_path, Ranks& ranks) {
  program_.share_cores(ranks.sharing_cores());
  ranks.tell_threads(num_threads());
  if (!ranks.leads()) {
    follow(ranks);
    return 0;
  }
  const int signal = lead(program_path, ranks);
  end_following(ranks);
  return signal;
}

int TrainCommand::lead(const char* program_path, Ranks& ranks) {
  given_.program = program_path;
  given_.quiet = program_.quiet();
  given_.seed = program_.seed();
  for (const TrainOption& row : train_option_table()) {
    if (!is_given(row.name)) continue;
    given_.given.insert(row.name);
    row.visit(
        [&]<class T>(const T& value) {
          if constexpr (std::is_constructible_v<std::filesystem::path, T>)
            if (std::filesystem::path(value).empty())
              fail_usage("--{} is empty; give it a value, or leave it out", row.name);
        },
        given_);
  }
  if (is_given("arch")) fields_.push_back("arch=" + arch_);
  if (is_given("memory")) fields_.push_back("memory=" + memory_);
  const std::string named = given_.data;
  std::optional<PrepareOptions> texts;
  if (!is_given("resume") && !only_plan_) texts = texts_to_prepare(named);
  if (texts) given_.data = texts->out.string();
  if (given_.out.empty() && resumes_newest()) {
    given_.out = newest_run(kRuns);
    if (given_.out.empty())
      fail_usage("--resume: there is no run in {}/; name the folder of one", kRuns);
  }
  if (given_.out.empty()) given_.out = kRuns / default_name();
  check_one_length(given_.given);
  check_plan();
  if (is_given("resume")) return resume(ranks);
  if (is_given("val-split") && !texts) check_can_be_split(given_.data, given_.validation_split);
  if (is_given("init")) {
    start_from_checkpoint(model(), given_);
  } else {
    start_anew(model(), given_);
    if (only_plan_) {
      const std::vector<Plan> plans = plan(given_, scale_);
      print(stdout, json_ ? to_json(plans).dump(2) + "\n" : visible(plan_text(plans)));
      return 0;
    }
    check_config(given_.config);
  }
  check_options(given_);  // before the texts are read, which may take a while
  if (texts)
    if (const int signal = prepare_texts(*std::move(texts), named); signal != 0) return signal;
  return train(given_, ranks);
}

}  // namespace

int main(int argc, char** argv) {
  Program program(
      "train", "Trains a recurrent language model.",
      "train --data book.txt            into checkpoints/book, with settings for its size\n"
      "  train --data book.txt --time 5m  in five minutes");
  std::unique_ptr<Ranks> ranks;
  begin_as_rank(program, ranks);
  TrainCommand command(program);
  int signal = 0;
  bool has_begun = false;  // else all ranks know that they end
  const int code = program.run(argc, argv, [&] {
    has_begun = true;
    if (ranks->are_many()) program.speak_as(ranks->name());
    signal = command.run(argv[0], *ranks);
  });
  if (code != 0 && has_begun && ranks->are_many()) ranks->abort(code);
  return code == 0 && signal != 0 ? 128 + signal : code;
}
