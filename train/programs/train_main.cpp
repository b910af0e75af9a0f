#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

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
#include "train/run/plan.h"
#include "train/run/trainer.h"

namespace {

/// Reads the file of --options, as parse_options_file() does. CLI11 drops what it says of an option that the command line has too, which
/// is not enough for some of them: the file's fields of --set, and --arch and --memory, which are some, count beside the command line's,
/// which come after them; where the command line says by --epochs or --steps how long the run is, the file says neither; with --init the file
/// has no --vocab; and with --resume its --warmup auto, which search always writes, is that of the run's begin.
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
    const std::string file = app_.get_config_ptr()->as<std::string>(), text(std::istreambuf_iterator<char>(input), {});
    for (auto& [name, values] : mmrec::parse_options_file(text, "--options " + file)) {
      check(name, values);
      const bool is_length = name == "epochs" || name == "steps";
      if (name == "set")
        fields.insert(fields.end(), values.begin(), values.end());
      else if (name == "arch" || name == "memory")
        fields.push_back(fmt::format("{}={}", name, fmt::join(values, "")));
      else if (!(is_length && has_length) && !(name == "vocab" && init_->count() > 0) && !(name == "warmup" && values[0] == "auto" && resumes))
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
    for (const CLI::Option* option : app_.get_options()) known.insert(known.end(), option->get_lnames().begin(), option->get_lnames().end());
    if (std::ranges::find(known, name) == known.end())
      mmrec::fail_usage("unknown option {} in the file of --options{}", name, mmrec::did_you_mean(name, known));
    const CLI::Option* option = app_.get_option("--" + name);
    if (!option->get_configurable()) mmrec::fail_usage("option {} is for the command line alone; take it out of the file of --options", name);
    if (option->get_expected_max() <= 1 && values.size() != 1)
      mmrec::fail_usage("option {} in the file of --options has {} values; give it one", name, values.size());
  }

  const CLI::App& app_;
  CLI::Option* fields_;
  const CLI::Option *epochs_, *steps_, *init_, *resume_;
};

}  // namespace

int main(int argc, char** argv) {
  using namespace mmrec;
  Program program("train", "Trains a recurrent language model.", "train --data book.txt --vocab auto --out checkpoints/book --steps 2000 --lr 3e-3");
  TrainOptions options;
  OptimizerSettings& optimizer = options.optimizer;
  std::string config = "tiny", arch, memory, vocabulary, out, resume;
  std::vector<std::string> fields;

  CLI::App& app = program.app();
  const CLI::Option* config_option = app.add_option("--config", config, "a preset (tiny, mini, ..) or a JSON file of fields");
  app.add_option("--set", fields, "field=value of the configuration; may be repeated")->allow_extra_args(false);
  app.add_option("--arch", arch, fmt::format("the blocks' architecture: {} (default: mmrec)", fmt::join(architecture_names(), " or ")));
  app.add_option("--memory", memory,
                 "of mmrec, random: the memory's slots are drawn anew for each step; learned: they are parameters (default: random)");
  app.add_option("--data", options.data, "sample (the built-in corpus), a text file, or a folder with train.txt and val.txt, as prepare makes them");
  app.add_option("--out", out, "where the run goes (default: checkpoints/ and the configuration's name)");
  app.add_flag("--overwrite", options.overwrite, "an earlier run in --out is moved to its folder previous (which is replaced)");
  const CLI::Option* resume_option =
      app.add_option(
             "--resume", resume,
             "go on with the run in --out, or with the run or from the checkpoint that is named; the options are those that it was begun with "
             "but for those that are given")
          ->expected(0, 1);
  const CLI::Option* init_option =
      app.add_option("--init", options.init, "a checkpoint, or a run's folder, whose weights and tokenizer to start from");
  app.add_flag("--extend-vocab", options.extend_vocab, "with --init: characters that its tokenizer does not know get tokens of their own");
  const CLI::Option* epochs_option = number(app, "--epochs", options.epochs, "times through the text", {.at_least = 1});
  const CLI::Option* steps_option =
      number(app, "--steps", options.steps, "steps of the whole run, in place of --epochs", {.at_least = 1, .at_most = 1e12});
  number(app, "--batch", options.batch, "windows a batch", {.at_least = 1});
  number(app, "--accumulate", options.accumulate, "batches a step, whose gradients are averaged: a larger batch in the same memory", {.at_least = 1});
  number(app, "--seq", options.sequence, "tokens a window", {.at_least = 1});
  number(app, "--lr", optimizer.learning_rate, "peak learning rate", {.more_than = 0});
  app.add_option("--lr-min", options.minimum_rate, "learning rate at the end: a rate, or a part of the peak as 0.1x");
  number_or_auto(app, "--warmup", options.warmup, kAuto, "steps of linear warm-up; auto: 100, and of a text of one's own at most a tenth of the run",
                 {.at_least = 0});
  number(app, "--beta1", optimizer.beta1, "AdamW's first decay rate", {.at_least = 0, .less_than = 1});
  number(app, "--beta2", optimizer.beta2, "AdamW's second decay rate", {.at_least = 0, .less_than = 1});
  number(app, "--decay", optimizer.decay, "weight decay", {.at_least = 0});
  number(app, "--clip", optimizer.clip, "largest global norm of the gradients, 0: any", {.at_least = 0});
  number(app, "--dropout", options.dropout, "probability of dropping an activation", {.at_least = 0, .less_than = 1});
  const CLI::Option* split_option =
      app.add_option("--val-split", options.validation_split, "part of a text file that is for validation; auto: 0.2, of 10 MB and more 0.05");
  number(app, "--val-seq", options.validation_sequence, "tokens a validation window", {.at_least = 1});
  number_or_auto(app, "--val-tokens", options.validation_tokens, kAuto,
                 "tokens of a validation at most, from all over the validation text, 0: all of it; auto: as many as take about 1 % of the time",
                 {.at_least = 0});
  number(app, "--eval-every", options.eval_every, "steps between validations, 0: at the end of each epoch", {.at_least = 0});
  number(app, "--patience", options.patience, "validations without a better loss before the run stops, 0: never", {.at_least = 0});
  number(app, "--save-every", options.save_every, "steps between checkpoints, 0: only at the end", {.at_least = 0});
  number(app, "--keep", options.keep, "checkpoints of steps that stay", {.at_least = 1});
  const CLI::Option* vocabulary_option =
      app.add_option("--vocab", vocabulary, "auto: as many tokens as the text needs; or a number (default: the configuration's)");
  number(app, "--sample-every", options.sample_every, "steps between samples of generated text, 0: only at the end", {.at_least = 0});
  number(app, "--sample-tokens", options.sample_tokens, "a sample's length, 0: no samples", {.at_least = 0});
  app.add_flag("--tensorboard", options.tensorboard, "write the figures for TensorBoard too, beside metrics.jsonl");
  bool only_plan = false, json = false;
  app.add_flag("--plan", only_plan, "print what the run would take of memory, disk and time, without making the model");
  app.add_flag("--json", json, "with --plan: print it as JSON");
  app.add_flag("--profile", options.profile, "print each kernel's share of the time at the end");
  const CLI::Option* seed_option = app.get_option("--seed");
  app.set_config("--options", "", "a file of options, as search writes it: lines of name = \"value\"; the command line's count before them");
  app.config_formatter(std::make_shared<OptionsFile>(app));

  /// The configuration that the command line asks for, where `given` is a checkpoint's; its vocabulary is that of `given`.
  const auto with_given_fields = [&](const Config& given) {
    Config result = config_option->count() > 0 ? load_config(config) : given;
    result.vocab_size = given.vocab_size;
    for (const std::string& field : fields) set_field(result, field);
    if (!arch.empty()) result.arch = arch;
    if (!memory.empty()) result.memory = memory;
    return result;
  };

  int signal = 0;
  const int code = program.run(argc, argv, [&] {
    options.program = argv[0];
    options.quiet = program.quiet();
    options.seed = program.seed();
    options.out = out.empty() ? std::filesystem::path("checkpoints") / std::filesystem::path(config).stem() : std::filesystem::path(out);
    if (json && !only_plan) fail_usage("--json is for --plan; a run's figures are in its metrics.jsonl, and 'report --json' has them");
    if (only_plan && (resume_option->count() > 0 || init_option->count() > 0))
      fail_usage("--plan is for new runs from the beginning; leave out --resume and --init");
    if (resume_option->count() > 0) {
      if (options.overwrite || init_option->count() > 0)
        fail_usage("--resume goes on with a run; --overwrite and --init begin a new one: leave out one or the other");
      signal = resume_training(resume.empty() ? options.out : std::filesystem::path(resume), [&](TrainOptions& saved) {
        std::error_code missing;  // then it is another folder too
        if (!resume.empty() && !out.empty() && !std::filesystem::equivalent(options.out, saved.out, missing))
          fail_usage("--out {}: {} is of the run in {} and goes on there; leave --out out, or start a new run with --init", out, resume,
                     saved.out.string());
        options = saved;
        options.program = argv[0];
        // Now for the second time: into the options that the run was begun with.
        for (CLI::Option* option : app.get_options())
          if (option->count() > 0) option->run_callback();
        if (options.validation_tokens == kAuto) options.validation_tokens = saved.validation_tokens;
        if (options.warmup == kAuto && saved.warmup != kAuto)
          fail_usage("--warmup auto: a run that goes on keeps its warm-up, of {} steps; a number changes it", saved.warmup);
        options.config = with_given_fields(saved.config);
        options.quiet = program.quiet();
        options.out = saved.out;
        if (seed_option->count() > 0) options.seed = program.seed();
        if (vocabulary_option->count() > 0) options.vocabulary = parse_vocabulary(vocabulary, saved.config.vocab_size);
        if (epochs_option->count() > 0 && steps_option->count() == 0) options.steps = 0;
        if (split_option->count() > 0) check_can_be_split(options.data, options.validation_split);
        saved = options;
      });
      return;
    }
    if (split_option->count() > 0) check_can_be_split(options.data, options.validation_split);
    if (init_option->count() > 0) {
      if (vocabulary_option->count() > 0) fail_usage("--vocab: with --init the tokenizer is the checkpoint's; --extend-vocab adds to it");
      options.config = with_given_fields(Checkpoint(options.init).config);
    } else {
      options.config = with_given_fields(load_config(config));
      options.vocabulary = parse_vocabulary(vocabulary, options.config.vocab_size);
      if (only_plan) {
        print(stdout, json ? to_json(plan(options)).dump(2) + "\n" : visible(plan_text(plan(options))));
        return;
      }
      check_config(options.config);
    }
    signal = train(options);
  });
  return code == 0 && signal != 0 ? 128 + signal : code;
}
