#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <type_traits>

#include "model/architecture.h"
#include "model/config.h"
#include "model/config_file.h"
#include "support/console.h"
#include "support/did_you_mean.h"
#include "support/error.h"
#include "support/names.h"
#include "train/data/tokenizer.h"
#include "train/programs/command_line.h"
#include "train/run/checkpoint.h"
#include "train/run/data.h"
#include "train/run/options_file.h"
#include "train/run/phases.h"
#include "train/run/plan.h"
#include "train/run/recorded_run.h"

namespace {

/// Reads the --options file with parse_options_file(). Command line beats file; CLI11 implements
/// that per option. Exceptions handled here:
/// - The file's --set fields, and its --arch and --memory, which are such fields, apply together
/// with the command line's, which come after them.
/// - With --epochs or --steps on the command line, the file's --epochs and --steps are ignored.
/// - With --init, the file's --vocab is ignored.
/// - With --resume, the file's --warmup auto, which search always writes, is ignored: the run keeps
/// its warm-up.
class OptionsFile : public CLI::ConfigBase {
 public:
  explicit OptionsFile(CLI::App& app)
      : app_(app),
        fields_(app.get_option("--set")),
        epochs_(app.get_option("--epochs")),
        steps_(app.get_option("--steps")),
        init_(app.get_option("--init")),
        resume_(app.get_option("--resume")) {}

  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override {
    std::vector<CLI::ConfigItem> rest;
    std::vector<std::string> fields;
    const bool has_length = epochs_->count() + steps_->count() > 0, resumes = resume_->count() > 0;
    const std::string file = app_.get_config_ptr()->as<std::string>(),
                      text(std::istreambuf_iterator<char>(input), {});
    for (auto& [name, values] : mmrec::parse_options_file(text, "--options " + file)) {
      check(name, values);
      const bool is_length = name == "epochs" || name == "steps";
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
      mmrec::fail_usage("unknown option {} in the file of --options{}", name,
                        mmrec::did_you_mean(name, known));
    const CLI::Option* option = app_.get_option("--" + name);
    if (!option->get_configurable())
      mmrec::fail_usage(
          "option {} is for the command line alone; take it out of the file of --options", name);
    if (option->get_expected_max() <= 1 && values.size() != 1)
      mmrec::fail_usage("option {} in the file of --options has {} values; give it one", name,
                        values.size());
  }

  const CLI::App& app_;
  CLI::Option* fields_;
  const CLI::Option *epochs_, *steps_, *init_, *resume_;
};

constexpr int kConfigured = -1;  // --vocab: take it from the configuration

/// Adds the options of the table; their values go to `given`.
void add_options(CLI::App& app, mmrec::TrainOptions& given) {
  using namespace mmrec;
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
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace mmrec;
  Program program(
      "train", "Trains a recurrent language model.",
      "train --data book.txt --vocab auto --out checkpoints/book --steps 2000 --lr 3e-3");
  TrainOptions given;
  given.vocabulary = kConfigured;
  std::string config = "tiny", arch, memory, resume;
  std::vector<std::string> fields;

  CLI::App& app = program.app();
  const CLI::Option* config_option =
      app.add_option("--config", config, "a preset (tiny, mini, ..) or a JSON file of fields");
  app.add_option("--set", fields, "field=value of the configuration; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--arch", arch,
                 fmt::format("the blocks' architecture: {} (default: mmrec)",
                             fmt::join(architecture_names(), " or ")));
  app.add_option("--memory", memory,
                 "of mmrec, random: the memory's slots are drawn anew for each step; learned: they "
                 "are parameters (default: random)");
  add_options(app, given);
  const CLI::Option* resume_option =
      app.add_option("--resume", resume,
                     "go on with the run in --out, or with the run or from the checkpoint that is "
                     "named; the options are those that it was begun with "
                     "but for those that are given")
          ->expected(0, 1);
  bool only_plan = false, json = false;
  app.add_flag("--plan", only_plan,
               "print what the run would take of memory, disk and time, without making the model");
  app.add_flag("--json", json, "with --plan: print it as JSON");
  app.set_config("--options", "",
                 "a file of options, as search writes it: lines of name = \"value\"; the command "
                 "line's count before them");
  app.config_formatter(std::make_shared<OptionsFile>(app));
  const auto is_given = [&](const char* name) {
    return app.get_option(fmt::format("--{}", name))->count() > 0;
  };

  /// Returns the configuration of the command line. `base`: a checkpoint's configuration, if there
  /// is one; the vocabulary is always that of `base`.
  const auto with_given_fields = [&](const Config& base) {
    Config result =
        config_option->count() > 0 ? load_config(config, Config{}, fields) : base_for(fields, base);
    result.vocab_size = base.vocab_size;
    for (const std::string& field : fields) set_field(result, field);
    return result;
  };

  /// Refuses options of a length that --grow has already.
  const auto check_grows_alone = [&](const std::string& grow) {
    for (const char* name : {"epochs", "steps"})
      if (!grow.empty() && is_given(name))
        fail_usage("--{}: the steps of a growing run are those of --grow {}", name, grow);
  };

  /// Resumes a run; given options replace those the run began with.
  const auto resume_run = [&] {
    if (given.overwrite || is_given("init"))
      fail_usage(
          "--resume goes on with a run; --overwrite and --init begin a new one: leave out one or "
          "the other");
    return resume_training(resume.empty() ? given.out : std::filesystem::path(resume),
                           [&](TrainOptions& run) {
                             std::error_code missing;  // a missing folder is a different folder too
                             if (!resume.empty() && is_given("out") &&
                                 !std::filesystem::equivalent(given.out, run.out, missing))
                               fail_usage(
                                   "--out {}: {} is of the run in {} and goes on there; leave "
                                   "--out out, or start a new run with --init",
                                   given.out.string(), resume, run.out.string());
                             std::set<std::string> names;
                             for (const TrainOption& row : train_option_table())
                               if (is_given(row.name)) names.insert(row.name);
                             check_grows_alone(run.grow);
                             override_options(run, given, names);
                             run.program = given.program;
                             run.config = with_given_fields(run.config);
                             if (run.vocabulary == kConfigured)
                               run.vocabulary = run.config.vocab_size;
                             if (is_given("val-split"))
                               check_can_be_split(run.data, run.validation_split);
                           });
  };

  int signal = 0;
  const int code = program.run(argc, argv, [&] {
    given.program = argv[0];
    given.quiet = program.quiet();
    given.seed = program.seed();
    if (!arch.empty()) fields.push_back("arch=" + arch);
    if (!memory.empty()) fields.push_back("memory=" + memory);
    if (given.out.empty() && !given.grow.empty()) given.out = "checkpoints/grown";
    if (given.out.empty())
      given.out = std::filesystem::path("checkpoints") / std::filesystem::path(config).stem();
    if (json && !only_plan)
      fail_usage(
          "--json is for --plan; a run's figures are in its metrics.jsonl, and 'report --json' has "
          "them");
    if (only_plan && (resume_option->count() > 0 || is_given("init")))
      fail_usage("--plan is for new runs from the beginning; leave out --resume and --init");
    if (resume_option->count() > 0) {
      signal = resume_run();
      return;
    }
    if (is_given("val-split")) check_can_be_split(given.data, given.validation_split);
    if (is_given("init")) {
      if (is_given("grow"))
        fail_usage(
            "--grow begins with a new model; to grow a checkpoint use upscale, and --init with "
            "what it makes");
      if (is_given("vocab"))
        fail_usage(
            "--vocab: with --init the tokenizer is the checkpoint's; --extend-vocab adds to it");
      given.vocabulary = TrainOptions().vocabulary;
      given.config = with_given_fields(Checkpoint(given.init).config);
    } else {
      check_grows_alone(given.grow);
      if (!given.grow.empty()) {
        if (is_given("config"))
          fail_usage(
              "--config is for runs of one size, and --grow names several: leave one of them out");
        // the run's options say all of each phase, so that it can be resumed
        given.grow = with_fields(given.grow, fields);
        given.config = parse_phases(given.grow)[0].config;
      } else {
        given.config = with_given_fields(load_config(config, Config{}, fields));
      }
      if (given.vocabulary == kConfigured) given.vocabulary = given.config.vocab_size;
      if (only_plan) {
        const std::vector<Plan> plans = plan(given);
        print(stdout, json ? to_json(plans).dump(2) + "\n" : visible(plan_text(plans)));
        return;
      }
      check_config(given.config);
    }
    signal = train(given);
  });
  return code == 0 && signal != 0 ? 128 + signal : code;
}
