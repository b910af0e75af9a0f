#include "model/config.h"
#include "runtime/error.h"
#include "train/command_line.h"
#include "train/config_file.h"
#include "train/learning_rate.h"
#include "train/tokenizer.h"
#include "train/trainer.h"

int main(int argc, char** argv) {
  using namespace mmrec;
  Program program("train", "Trains an MM-Rec language model.", "train --data book.txt --vocab auto --out checkpoints/book --steps 2000 --lr 3e-3");
  TrainOptions options;
  OptimizerSettings& optimizer = options.optimizer;
  std::string config = "tiny", vocabulary, minimum_rate = "0.1x", out;
  std::vector<std::string> fields;

  CLI::App& app = program.app();
  app.add_option("--config", config, "a preset (tiny, mini, ..) or a JSON file of fields");
  app.add_option("--set", fields, "field=value of the configuration; may be repeated")->allow_extra_args(false);
  app.add_option("--data", options.data, "sample, a text file, or a folder with train.txt and val.txt");
  app.add_option("--out", out, "where the run goes (default: checkpoints/ and the configuration's name)");
  app.add_flag("--overwrite", options.overwrite, "an earlier run in --out is moved to its folder previous (which is replaced)");
  app.add_option("--epochs", options.epochs, "times through the text")->check(at_least(1));
  app.add_option("--steps", options.steps, "steps of the whole run, in place of --epochs")->check(at_least(1))->check(at_most(1e12));
  app.add_option("--batch", options.batch, "windows a step")->check(at_least(1));
  app.add_option("--seq", options.sequence, "tokens a window")->check(at_least(1));
  app.add_option("--lr", optimizer.learning_rate, "peak learning rate")->check(more_than(0));
  app.add_option("--lr-min", minimum_rate, "learning rate at the end: a rate, or a part of the peak as 0.1x");
  app.add_option("--warmup", options.warmup, "steps of linear warm-up")->check(at_least(0));
  app.add_option("--beta1", optimizer.beta1, "AdamW's first decay rate")->check(at_least(0))->check(less_than(1));
  app.add_option("--beta2", optimizer.beta2, "AdamW's second decay rate")->check(at_least(0))->check(less_than(1));
  app.add_option("--decay", optimizer.decay, "weight decay")->check(at_least(0));
  app.add_option("--clip", optimizer.clip, "largest global norm of the gradients, 0: any")->check(at_least(0));
  app.add_option("--dropout", options.dropout, "probability of dropping an activation")->check(at_least(0))->check(less_than(1));
  app.add_option("--val-split", options.validation_split, "part of the text that is for validation")->check(at_least(0))->check(less_than(1));
  app.add_option("--val-seq", options.validation_sequence, "tokens a validation window")->check(at_least(1));
  app.add_option("--patience", options.patience, "epochs without a better validation loss before the run stops, 0: never")->check(at_least(0));
  app.add_option("--save-every", options.save_every, "steps between checkpoints, 0: only at the end")->check(at_least(0));
  app.add_option("--keep", options.keep, "checkpoints of steps that stay")->check(at_least(1));
  app.add_option("--vocab", vocabulary, "auto: as many tokens as the text needs; or a number (default: the configuration's)");
  app.add_option("--sample-tokens", options.sample_tokens, "length of the sample at the end, 0: none")->check(at_least(0));
  app.add_flag("--profile", options.profile, "print each kernel's share of the time at the end");

  return program.run(argc, argv, [&] {
    options.config = load_config(config);
    for (const std::string& field : fields) set_field(options.config, field);
    check_config(options.config);
    options.vocabulary = parse_vocabulary(vocabulary, options.config.vocab_size);
    if (options.sequence > options.config.max_seq)
      fail_usage("--seq {} is longer than the configuration's max_seq {}", options.sequence, options.config.max_seq);
    if (options.validation_sequence > options.config.max_seq)
      fail_usage("--val-seq {} is longer than the configuration's max_seq {}", options.validation_sequence, options.config.max_seq);
    options.minimum_rate = parse_minimum_rate(minimum_rate, optimizer.learning_rate);
    options.out = out.empty() ? std::filesystem::path("checkpoints") / std::filesystem::path(config).stem() : std::filesystem::path(out);
    options.seed = program.seed();
    options.quiet = program.quiet();
    train(options);
  });
}
