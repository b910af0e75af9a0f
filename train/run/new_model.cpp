#include "train/run/new_model.h"

#include <algorithm>

#include "model/config_file.h"
#include "support/error.h"
#include "train/run/checkpoint.h"
#include "train/run/phases.h"
#include "train/run/recipe.h"

namespace mmrec {

namespace {

/// Whether the fields set one of these names.
bool sets(const std::vector<std::string>& fields, std::initializer_list<std::string_view> names) {
  return std::ranges::any_of(fields, [&](const std::string& field) {
    return std::ranges::count(names, std::string_view(field).substr(0, field.find('='))) > 0;
  });
}

/// Windows whose length nobody gave are no longer than the model takes.
void fit_windows(TrainOptions& options) {
  const int most = options.config.max_seq;
  if (!options.given.contains("seq")) options.sequence = std::min(options.sequence, most);
  if (!options.given.contains("val-seq"))
    options.validation_sequence = std::min(options.validation_sequence, most);
}

}  // namespace

Config requested_config(const ModelRequest& request, const Config& base) {
  Config start;
  start.gates = base.gates;
  Config result = request.config_is_given ? load_config(request.config, start, request.fields)
                                          : base_for(request.fields, base);
  result.vocab_size = base.vocab_size;
  for (const std::string& field : request.fields) set_field(result, field);
  return result;
}

void start_from_checkpoint(const ModelRequest& request, TrainOptions& options) {
  if (options.given.contains("grow"))
    fail_usage(
        "--grow begins with a new model; to grow a checkpoint use upscale, and --init with what it "
        "makes");
  if (options.given.contains("vocab"))
    fail_usage("--vocab: with --init the tokenizer is the checkpoint's; --extend-vocab adds to it");
  options.vocabulary = TrainOptions().vocabulary;
  options.config = requested_config(request, Checkpoint(options.init).config);
  fit_windows(options);
}

void start_anew(const ModelRequest& request, TrainOptions& options) {
  const std::vector<std::string>& fields = request.fields;
  const Config base = has_recipe(options) ? recipe_config() : Config{};
  if (options.grow.empty()) {
    options.config = requested_config(request, load_config(request.config, base, fields));
  } else {
    if (request.config_is_given)
      fail_usage(
          "--config is for runs of one size, and --grow names several: leave one of them out");
    parse_phases(options.grow);  // errors have what was typed
    if (has_recipe(options) && !asks_for_architecture(fields))
      options.grow = with_default(options.grow, "gates=" + base.gates);
    // the run's options say all of each phase, so that it can be resumed
    options.grow = with_fields(options.grow, fields);
    options.config = parse_phases(options.grow)[0].config;
  }
  fit_windows(options);
  if (request.config_is_given || sets(fields, {"arch", "dim", "layers", "heads"}))
    options.given.insert(kSize);
  if (options.vocabulary != kConfigured) return;
  const bool is_preset = std::ranges::count(preset_names(), request.config) > 0;
  options.vocabulary = has_recipe(options) && is_preset && !sets(fields, {"vocab_size"})
                           ? TrainOptions().vocabulary
                           : options.config.vocab_size;
}

}  // namespace mmrec
