#include <fmt/ranges.h>

#include <string>
#include <vector>

#include "model/architecture.h"
#include "model/config_file.h"
#include "support/console.h"
#include "support/error.h"
#include "support/names.h"
#include "train/programs/command_line.h"
#include "train/run/upscale.h"

namespace {

using namespace mmrec;

/// The command line.
struct Request {
  std::string from, out, config;
  std::vector<std::string> fields;
  bool exact = false;

  /// The model to grow to: the checkpoint's fields but for those that are given. The vocabulary is
  /// the tokenizer's, not a preset's.
  Config larger_than(const Config& base) const {
    Config result = config.empty() ? base_for(fields, base) : load_config(config, base, fields);
    result.vocab_size = base.vocab_size;
    for (const std::string& field : fields) set_field(result, field);
    return result;
  }
};

std::string describe(const Config& config) {
  return fmt::format("{} parameters, dim {}, {}", parameter_count(parameter_table(config)),
                     config.dim, describe_layers(config));
}

void run(const Request& request, uint64_t seed, bool quiet) {
  if (request.config.empty() && request.fields.empty())
    fail_usage("say what to grow to: --config (a preset or a file), --set field=value, or both");
  const Checkpoint checkpoint(request.from);
  const Config &from = checkpoint.config, to = request.larger_than(from);
  check_config(to);
  const Growth growth = upscale(checkpoint, to, growth_rule(request.exact), seed, request.out);
  Console console(quiet);
  console.line(fmt::format("from  {} (step {}): {}", checkpoint.folder.string(),
                           checkpoint.state.step, describe(from)));
  console.line(fmt::format("to    {}: {}", request.out, describe(to)));
  console.line(growth_table(growth));
  console.line(
      fmt::format("{} of {} parameters are copied, {} are new{}", growth.copied(), growth.count(),
                  growth.count() - growth.copied(),
                  growth.dropped.empty()
                      ? ""
                      : fmt::format("; left behind, as the new model has no such tensors: {}",
                                    fmt::join(growth.dropped, ", "))));
  const std::string difference = remaining_difference(from, to);
  console.line(!request.exact ? "the rule of the overlap changes the function: train on, "
                                "or give --exact"
               : difference.empty()
                   ? "the logits are those of the old model, up to rounding"
                   : "the logits are those of the old model but for this: " + difference);
  console.line(fmt::format("train on with\n  train --init {} --out ..", shell_quoted(request.out)));
}

}  // namespace

int main(int argc, char** argv) {
  Program program("upscale", "Makes a larger model that starts from a smaller one's weights.",
                  "upscale --from checkpoints/tiny --config mini --exact --out checkpoints/grown");
  Request request;
  CLI::App& app = program.app();
  app.add_option("--from", request.from, "a checkpoint's folder, or a run's: then its best model")
      ->required();
  app.add_option("--out", request.out, "the folder of the new checkpoint, which must not be there")
      ->required();
  app.add_option("--config", request.config,
                 "the size to grow to: a preset (mini, small, ..) or a JSON file of fields")
      ->default_str("");
  app.add_option("--set", request.fields, "field=value of the configuration; may be repeated")
      ->allow_extra_args(false);
  app.add_flag("--exact", request.exact,
               "choose what is new such that the logits stay as they are, in place of copying the "
               "overlap of each tensor");
  return program.run(argc, argv, [&] { run(request, program.seed(), program.quiet()); });
}
