#include <fmt/format.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "python/array.h"
#include "python/bindings.h"
#include "python/computing.h"
#include "python/model.h"
#include "support/did_you_mean.h"
#include "support/error.h"
#include "train/run/new_model.h"
#include "train/run/recipe.h"
#include "train/run/start.h"

namespace mmrec::python {

namespace {

/// Stands in the options for the name of a text, where there are arrays instead.
constexpr const char* kArrays = "arrays of token ids";

/// Options of `train` that concern its folder, its terminal and its ranks, which a Trainer has not.
constexpr std::string_view kOfProgram[] = {
    "out",  "overwrite",  "grow",         "exact",       "time",    "allreduce", "shard-optimizer",
    "keep", "save-every", "sample-every", "tensorboard", "profile", "trace",     "until",
    "quiet"};

/// Returns the row of an option by its name in Python.
const TrainOption& find_option(const std::string& name) {
  std::vector<std::string> known;
  for (const TrainOption& row : train_option_table()) {
    std::string python_name = row.name;
    std::ranges::replace(python_name, '-', '_');
    const bool is_of_program = std::ranges::find(kOfProgram, row.name) != std::end(kOfProgram);
    if (python_name == name && is_of_program)
      fail_usage("option {} is for the program train, which keeps a run's folder", name);
    if (python_name == name) return row;
    if (!is_of_program) known.push_back(python_name);
  }
  fail_usage("there is no option {}{}", name, did_you_mean(name, known));
}

template <class T>
void set_value(const TrainOption& row, T& value, nb::handle given) {
  if constexpr (!std::is_arithmetic_v<T>) {
    value = nb::str(given).c_str();
  } else if (row.form != TrainOption::Form::kPlain && nb::isinstance<nb::str>(given)) {
    const std::string word = nb::cast<std::string>(given);
    if (row.form == TrainOption::Form::kVocabulary)
      value = static_cast<T>(parse_vocabulary(word, kConfigured));
    else if (word == "auto")
      value = static_cast<T>(kAuto);
    else
      fail_usage("--{} '{}' makes no sense; it must be a number, or auto", row.name, word);
  } else if (!nb::try_cast<T>(given, value)) {
    throw nb::type_error(fmt::format("option {} must be {}, and is {}", row.name,
                                     std::is_same_v<T, bool> ? "True or False"
                                     : std::is_integral_v<T> ? "a whole number"
                                                             : "a number",
                                     nb::repr(given).c_str())
                             .c_str());
  }
}

/// Sets what is given of the options of train; None is not given.
void set_options(TrainOptions& options, nb::dict given) {
  for (const auto& [key, value] : given) {
    if (value.is_none()) continue;
    const auto name = nb::cast<std::string>(key);
    const TrainOption& row = find_option(name);
    row.visit([&, value = value](auto& member) { set_value(row, member, value); }, options);
    options.given.insert(row.name);
  }
}

/// What a trainer reads: a text by its name, or arrays of ids.
struct Data {
  std::optional<std::string> name;
  std::optional<std::vector<int32_t>> train = {}, validation = {};
};

std::optional<std::vector<int32_t>> copied(const char* name, nb::handle array) {
  if (array.is_none()) return {};
  const Array<int32_t> ids(name, array);
  if (ids.rank() != 1) fail_usage("{} must have one axis, of token ids", name);
  return std::vector<int32_t>(ids.elements().begin(), ids.elements().end());
}

Data given_data(std::optional<std::string> name, nb::handle train, nb::handle validation) {
  if (train.is_none() && !validation.is_none())
    fail_usage("validation is for data of token ids; of a text, val_split takes a part for it");
  return {std::move(name), copied("data", train), copied("validation", validation)};
}

RunData read_data(const TrainOptions& options, Data data, const std::optional<Tokenizer>& known) {
  if (!data.train) return load_data(options, known);
  if (!known) fail_usage("tokenizer is missing: it says how many ids there are");
  for (const auto& ids : {data.train, data.validation})
    if (ids) known->check(*ids);
  return {.tokenizer = *known,
          .train = std::move(*data.train),
          .validation = data.validation ? std::move(*data.validation) : std::vector<int32_t>()};
}

/// A Trainer that several of Python's threads may use, one at a time.
class SharedTrainer {
 public:
  SharedTrainer(Data data, const Tokenizer* tokenizer, const ModelRequest& request,
                nb::dict options);
  /// Goes on with what save() left. data without name and arrays: the text it was begun with.
  static std::unique_ptr<SharedTrainer> resume(const std::string& path, Data data,
                                               nb::dict options);

  MetricsRow step();
  MetricsRow validate();
  std::string sample();
  void save(const std::string& path);
  std::shared_ptr<LoadedModel> model();

  /// Returns get(trainer), of what another thread may change meanwhile.
  template <class Get>
  auto look(const Get& get) {
    const Computing computing;
    const std::lock_guard lock(mutex_);
    return get(std::as_const(*trainer_));
  }

 private:
  SharedTrainer() = default;
  /// Returns work(trainer), which Ctrl-C interrupts. The trainer's state is then as it was.
  template <class Work>
  auto run(const Work& work) {
    return compute([&](const std::atomic<int>& asked) {
      const std::lock_guard lock(mutex_);
      trainer_->obey(asked);
      return work(*trainer_);
    });
  }

  std::mutex mutex_;
  std::unique_ptr<Trainer> trainer_;
};

SharedTrainer::SharedTrainer(Data data, const Tokenizer* tokenizer, const ModelRequest& request,
                             nb::dict given) {
  TrainOptions options;
  options.vocabulary = kConfigured;
  options.recipe = "auto";
  options.quiet = true;
  set_options(options, given);
  if (data.name) options.data = *data.name;
  if (data.train) options.data = kArrays;
  check_one_length(options.given);
  if (options.given.contains("val-split")) {
    if (data.train) fail_usage("val_split is for texts; give validation, an array of ids");
    check_can_be_split(options.data, options.validation_split);
  }
  if (tokenizer && !data.train) fail_usage("tokenizer is for arrays of ids; leave it out");
  trainer_ = compute([&](const std::atomic<int>& asked) {
    const Interruptible interruptible(asked);
    TrainOptions completed = options;
    if (options.init.empty()) {
      start_anew(request, completed);
      check_config(completed.config);
    } else {
      start_from_checkpoint(request, completed);
    }
    check_options(completed);
    RunStart start;
    if (!options.init.empty()) start.checkpoint.emplace(options.init);
    RunData read = read_data(completed, data, tokenizer ? std::optional(*tokenizer)
                                                        : start.tokenizer());
    completed.config = run_config(completed, start, read.tokenizer);
    if (const std::string line = apply_recipe(completed, read, {}); !line.empty())
      read.notes.push_back({line});
    auto trainer = std::make_unique<Trainer>(completed, std::move(read));
    read_parameters(start, *trainer);
    return trainer;
  });
}

std::unique_ptr<SharedTrainer> SharedTrainer::resume(const std::string& path, Data data,
                                                     nb::dict options) {
  TrainOptions given;
  set_options(given, options);
  std::unique_ptr<SharedTrainer> shared(new SharedTrainer);
  shared->trainer_ = compute([&](const std::atomic<int>& asked) {
    const Interruptible interruptible(asked);
    const Checkpoint checkpoint(path);
    if (!checkpoint.state.progress || !checkpoint.has_moments())
      fail("{} {}; Trainer(.., init={}) begins a new run with its weights",
           checkpoint.folder.string(), kWithoutMoments, path);
    const TrainOptions& saved = checkpoint.state.progress->options;
    if (!saved.grow.empty())
      fail_usage("{} is of a run that grows (--grow), which the program train goes on with", path);
    TrainOptions run = saved;
    run.config = checkpoint.config;
    run.quiet = true;
    override_options(run, given, given.given);
    check_options(run);
    check_fixed_options(saved, run);
    if (data.name) run.data = *data.name;
    if (data.train) run.data = kArrays;
    if (run.data == kArrays && !data.train)
      fail_usage("data is missing: the run in {} is on arrays of token ids; give them again", path);
    RunData read = read_data(run, data, checkpoint.tokenizer);
    check_same_data(checkpoint.state.progress->data, read, run.data);
    auto trainer = std::make_unique<Trainer>(run, std::move(read));
    if (checkpoint.state.step > trainer->steps())
      fail_usage("steps {}: the run has taken {} steps already", trainer->steps(),
                 checkpoint.state.step);
    checkpoint.read_weights(trainer->parameters());
    checkpoint.read_moments(trainer->parameters(), trainer->carried());
    trainer->restore(checkpoint.state);
    return trainer;
  });
  return shared;
}

MetricsRow SharedTrainer::step() {
  return run([](Trainer& trainer) {
    if (trainer.is_done())
      fail_usage("the run is done, after step {} of {}; resume() goes on with more steps",
                 trainer.state().step, trainer.steps());
    const MetricsRow row = trainer.step();
    if (!std::isfinite(row.grad_norm))
      fail("step {}: the gradient is not finite: {}. The step was not taken; a lower lr helps",
           row.step, trainer.first_non_finite());
    return row;
  });
}

MetricsRow SharedTrainer::validate() {
  return run([](Trainer& trainer) {
    if (!trainer.evaluation())
      fail_usage("there is no validation text; give val_split, or validation with arrays");
    return trainer.validate();
  });
}

std::string SharedTrainer::sample() {
  return run([](Trainer& trainer) {
    const Sample sample = trainer.sample();
    if (!sample.problem.empty()) fail("{}", sample.problem);
    return sample.text;
  });
}

void SharedTrainer::save(const std::string& path) {
  run([&](Trainer& trainer) {
    const Parameters& parameters = trainer.parameters();
    for (const Tensor& flat :
         {parameters.weights(), parameters.first_moments(), parameters.second_moments()})
      if (const std::string bad = first_non_finite(parameters, flat); !bad.empty())
        fail("step {}: {} or its moments are not finite and are not saved: a lower lr helps",
             trainer.state().step, bad);
    RunState state = trainer.state();
    state.progress->options = to_save(trainer.options());
    save_checkpoint(path, trainer.config(), trainer.tokenizer(), parameters, state,
                    trainer.carried());
  });
}

std::shared_ptr<LoadedModel> SharedTrainer::model() {
  return run([&](Trainer& trainer) {
    static std::atomic<int64_t> models{0};
    auto model = std::make_shared<LoadedModel>(
        trainer.config(), trainer.tokenizer(), trainer.state(),
        fmt::format("of a Trainer's model {}, at step {}", ++models, trainer.state().step));
    const Parameters& from = trainer.parameters();
    copy_values(from.has_average() ? from.average() : from.weights(), model->parameters.weights());
    return model;
  });
}

}  // namespace

void bind_trainer(nb::module_& module) {
  using nb::arg;
  nb::class_<MetricsRow>(module, "Metrics",
                         "The figures of a step or a validation; nan: it has none of these.")
      .def_ro("step", &MetricsRow::step, "From 1.")
      .def_ro("epoch", &MetricsRow::epoch, "From 1.")
      .def_ro("split", &MetricsRow::split, "\"train\" or \"val\".")
      .def_ro("loss", &MetricsRow::loss, "Mean cross-entropy in nats.")
      .def_prop_ro("perplexity", &MetricsRow::perplexity, "exp(loss).")
      .def_ro("bits_per_byte", &MetricsRow::bits_per_byte,
              "Of a validation: its loss, comparable between tokenizers.")
      .def_ro("accuracy", &MetricsRow::accuracy, "Part of the tokens, 0 .. 1.")
      .def_ro("lr", &MetricsRow::lr, "Learning rate of the step.")
      .def_ro("grad_norm", &MetricsRow::grad_norm, "Of a step: before clipping.")
      .def_ro("tokens", &MetricsRow::tokens, "Trained on since the beginning of the run.")
      .def_ro("tokens_per_second", &MetricsRow::tokens_per_second, "Speed of this call.")
      .def("__repr__", [](const MetricsRow& row) {
        return fmt::format("Metrics(step={}, split='{}', loss={:.4f}, accuracy={:.4f})", row.step,
                           row.split, row.loss, row.accuracy);
      });

  nb::class_<SharedTrainer>(module, "Trainer")
      .def(
          "__init__",
          [](SharedTrainer* self, std::optional<std::string> text, nb::handle train,
             nb::handle validation, const Tokenizer* tokenizer, std::optional<std::string> config,
             std::vector<std::string> fields, nb::dict options) {
            ModelRequest request{.config_is_given = config.has_value(),
                                 .fields = std::move(fields)};
            if (config) request.config = *config;
            new (self) SharedTrainer(given_data(std::move(text), train, validation), tokenizer,
                                     request, options);
          },
          arg("text").none(), arg("train").none(), arg("validation").none(),
          arg("tokenizer").none(), arg("config").none(), arg("fields"), arg("options"))
      .def_static(
          "resume",
          [](const std::string& path, std::optional<std::string> text, nb::handle train,
             nb::handle validation, nb::dict options) {
            return SharedTrainer::resume(path, given_data(std::move(text), train, validation),
                                         options);
          },
          arg("path"), arg("text").none(), arg("train").none(), arg("validation").none(),
          arg("options"))
      .def("step", &SharedTrainer::step)
      .def("validate", &SharedTrainer::validate)
      .def("sample", &SharedTrainer::sample)
      .def("save", &SharedTrainer::save, arg("path"))
      .def("model", &SharedTrainer::model)
      .def_prop_ro("steps_taken",
                   [](SharedTrainer& trainer) {
                     return trainer.look([](const Trainer& t) { return t.state().step; });
                   })
      .def_prop_ro("steps",
                   [](SharedTrainer& trainer) {
                     return trainer.look([](const Trainer& t) { return t.steps(); });
                   })
      .def_prop_ro("is_done",
                   [](SharedTrainer& trainer) {
                     return trainer.look([](const Trainer& t) { return t.is_done(); });
                   })
      .def_prop_ro("validation_is_due",
                   [](SharedTrainer& trainer) {
                     return trainer.look([](const Trainer& t) { return t.validation_is_due(); });
                   })
      .def_prop_ro("is_best",
                   [](SharedTrainer& trainer) {
                     return trainer.look([](const Trainer& t) { return t.is_best(); });
                   })
      .def_prop_ro("tokenizer",
                   [](SharedTrainer& trainer) {
                     return trainer.look([](const Trainer& t) { return t.tokenizer(); });
                   })
      .def("describe", [](SharedTrainer& trainer) {
        std::string lines;
        for (const Note& note : trainer.look([](const Trainer& t) { return t.description(); }))
          lines += note.text + "\n";
        return lines;
      });
}

}  // namespace mmrec::python
