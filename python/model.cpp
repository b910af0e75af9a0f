#include "python/model.h"

#include <fmt/format.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <vector>

#include "model/config_file.h"
#include "python/array.h"
#include "python/bindings.h"
#include "python/computing.h"
#include "support/error.h"

namespace mmrec::python {

namespace {

std::shared_ptr<LoadedModel> load(const std::string& path, const std::string& precision) {
  return compute([&](const std::atomic<int>&) {
    const Precision factors = usable_precision(precision);
    const Checkpoint checkpoint(path);
    auto model =
        std::make_shared<LoadedModel>(checkpoint.config, checkpoint.tokenizer, checkpoint.state,
                                      checkpoint.describe_weights(), factors);
    checkpoint.read_weights(model->parameters, model->precision);
    return model;
  });
}

/// An array that shows a part of what `owner` owns.
using View = nb::ndarray<nb::numpy, const float>;

nb::dict weights(nb::handle self) {
  const auto& model = nb::cast<const LoadedModel&>(self);
  const float* weights = model.parameters.weights().data();
  nb::dict result;
  for (const Parameter& parameter : model.parameters.table()) {
    const std::vector<size_t> shape(parameter.shape.begin(), parameter.shape.end());
    result[parameter.name.c_str()] =
        View(weights + parameter.offset, shape.size(), shape.data(), self);
  }
  return result;
}

/// What a model remembers of a text. It never changes.
struct State {
  TextState text;
  std::string identity;  ///< of the weights

  /// Throws an Error if it is one of other weights.
  void check(const LoadedModel& model) const {
    if (identity != model.identity)
      fail("the state is one of other weights ({}), and the model has {}", identity,
           model.identity);
  }
};

View values(nb::handle self) {
  const TextState& text = nb::cast<const State&>(self).text;
  return {text.values.data(),
          {static_cast<size_t>(text.layers), static_cast<size_t>(text.width)},
          self};
}

nb::bytes content(const State& state) {
  const std::string all = text_state_content(state.text, state.identity);
  return nb::bytes(all.data(), all.size());
}

State parse_state(const LoadedModel& model, nb::bytes content) {
  State state{parse_text_state({content.c_str(), content.size()}, "this state", model.identity),
              model.identity};
  model.tokenizer.check(state.text.unread);
  return state;
}

/// Reads ids after a state (null: from the beginning). Writes the logits of the token that comes
/// next to out [vocabulary], or those after each of the ids to out [ids][vocabulary]. Returns the
/// state at the end.
State logits(LoadedModel& model, nb::handle ids, const State* before, nb::handle out) {
  const Array<int32_t> given("ids", ids);
  const Array<float> result("out", out, Array<float>::Access::kWrite);
  if (given.rank() != 1 || given.count() == 0)
    fail_usage("ids must have one axis, and at least one token");
  const auto vocabulary = static_cast<size_t>(model.tokenizer.size());
  const bool every = result.rank() == 2;
  if (result.count() != static_cast<int64_t>(vocabulary) * (every ? given.count() : 1))
    fail_usage("out has {} elements, which is not the number of logits", result.count());
  model.tokenizer.check(given.elements());
  if (before) before->check(model);
  return compute([&](const std::atomic<int>& asked) {
    const std::lock_guard lock(model.reader_mutex);
    const Interruptible interruptible(asked);
    if (!model.reader) model.reader.emplace(model);
    TextGenerator& reader = model.reader->generator;
    reader.go_on(before ? before->text : model.reader->beginning);
    std::vector<int32_t> read = before ? before->text.unread : std::vector<int32_t>();
    const size_t unread = read.size();
    read.insert(read.end(), given.elements().begin(), given.elements().end());
    const size_t first = every ? unread : read.size() - 1;  // with logits
    reader.advance(std::span(read).first(first));
    for (size_t i = first; i < read.size(); ++i)
      reader.read(read[i], result.elements().subspan((i - first) * vocabulary, vocabulary));
    return State{reader.state(), model.identity};
  });
}

/// A text while it is written, piece by piece.
class TextStream {
 public:
  TextStream(std::shared_ptr<LoadedModel> model, std::optional<std::string> prompt,
             const State* before, int64_t tokens, const Sampling& sampling,
             std::vector<std::string> stops);

  /// Returns the next piece, of whole characters. Raises StopIteration at the end.
  std::string next();
  /// Returns what goes on with the text so far.
  State state() const;

 private:
  /// Returns what the next token adds, which may be nothing yet.
  std::string add_token();
  bool has_ended() const { return left_ == 0 || stops_.found(); }

  const std::shared_ptr<LoadedModel> model_;
  mutable std::mutex mutex_;
  TextGenerator generator_;
  StopStrings stops_;
  WholeCharacters characters_;
  int64_t left_;                 // tokens
  std::vector<int32_t> unread_;  // the last token, if there is one
  bool has_rest_ = true;
  std::string piece_;  // the next one, if it is there
};

/// Throws a UsageError for an option that is out of range.
Sampling checked(const Sampling& sampling) {
  for (const SamplingOption& option : sampling_options())
    std::visit(
        [&](auto member) {
          const auto value = static_cast<double>(sampling.*member);
          if (!is_within(option.bounds, value))
            fail_usage("--{} {} makes no sense: {}", option.name, value, option.help);
        },
        option.member);
  return sampling;
}

/// Returns the ids of a text to continue. Warns of characters that the model does not know.
std::vector<int32_t> prompt_ids(const Tokenizer& tokenizer, const std::string& prompt) {
  if (prompt.empty()) fail_usage("prompt: there must be at least one character to continue");
  std::vector<int32_t> ids = tokenizer.encode(prompt, "prompt");
  CharacterCounts counts;
  count_characters(prompt, "prompt", counts);
  const std::string unknown = describe_unknown(tokenizer, counts);
  if (std::ranges::count(ids, Tokenizer::kUnknown) == std::ssize(ids))
    fail_usage("prompt: the model knows none of it: {}", unknown);
  if (!unknown.empty() &&
      PyErr_WarnEx(PyExc_UserWarning, fmt::format("prompt: {}", unknown).c_str(), 2) != 0)
    throw nb::python_error();
  return ids;
}

TextStream::TextStream(std::shared_ptr<LoadedModel> model, std::optional<std::string> prompt,
                       const State* before, int64_t tokens, const Sampling& sampling,
                       std::vector<std::string> stops)
    : model_(std::move(model)),
      generator_(model_->begin(checked(sampling))),
      stops_(std::move(stops)),
      left_(tokens) {
  if (tokens < 0) fail_usage("max_tokens {} makes no sense; it must be at least 0", tokens);
  if (before) before->check(*model_);
  std::vector<int32_t> ids = before ? before->text.unread : std::vector<int32_t>();
  if (prompt) {
    const std::vector<int32_t> of_prompt = prompt_ids(model_->tokenizer, *prompt);
    ids.insert(ids.end(), of_prompt.begin(), of_prompt.end());
  } else if (ids.empty()) {
    ids = neutral_prompt(model_->tokenizer);
  }
  const TextState beginning = before ? before->text : generator_.state();
  compute([&](const std::atomic<int>& asked) {
    const Interruptible interruptible(asked);
    generator_.go_on(beginning);
    generator_.read_prompt(ids);
  });
}

std::string TextStream::add_token() {
  if (has_ended()) {
    has_rest_ = false;
    return stops_.pass(characters_.rest()) + stops_.rest();
  }
  if (!unread_.empty()) generator_.read(std::exchange(unread_, {}));
  const std::span<const int32_t> chosen = generator_.choose();
  unread_.assign(chosen.begin(), chosen.end());
  --left_;
  return stops_.pass(characters_.pass(model_->tokenizer.decode(unread_[0])));
}

std::string TextStream::next() {
  for (;;) {
    {
      const Computing computing;
      const std::lock_guard lock(mutex_);
      if (piece_.empty() && !has_rest_) throw nb::stop_iteration();
      if (piece_.empty()) piece_ = add_token();
    }
    // Just before the piece is given away, which Python would lose if its handler raised later: so
    // the text goes on where it was if the caller asks again.
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    const std::lock_guard lock(mutex_);
    if (!piece_.empty()) return std::exchange(piece_, {});
  }
}

State TextStream::state() const {
  const Computing computing;
  const std::lock_guard lock(mutex_);
  State state{generator_.state(), model_->identity};
  state.text.unread = unread_;
  return state;
}

}  // namespace

void bind_model(nb::module_& module) {
  using nb::arg;
  nb::class_<State>(module, "State",
                    "What a model remembers of a text. It never changes; bytes(state) saves it.")
      .def_prop_ro(
          "tokens", [](const State& state) { return state.text.tokens; },
          "How many tokens the text has.")
      .def_prop_ro("values", &values, "The recurrent state, [layers][width], read-only.")
      .def("__bytes__", &content);

  nb::class_<LoadedModel>(module, "Model")
      .def_prop_ro("config", [](const LoadedModel& model) { return to_json(model.config).dump(); })
      .def_prop_ro(
          "tokenizer", [](const LoadedModel& model) { return &model.tokenizer; },
          nb::rv_policy::reference_internal)
      .def_ro("step", &LoadedModel::step)
      .def("weights", [](nb::handle self) { return weights(self); })
      .def("logits", &logits, arg("ids"), arg("state").none(), arg("out"))
      .def("parse_state", &parse_state, arg("content"));
  module.def("load", &load, arg("path"), arg("precision"));

  nb::class_<TextStream>(module, "TextStream")
      .def(
          "__init__",
          [](TextStream* self, std::shared_ptr<LoadedModel> model,
             std::optional<std::string> prompt, const State* state, int64_t max_tokens,
             double temperature, int64_t top_k, double top_p, double min_p,
             double repetition_penalty, int64_t repetition_window, uint64_t seed,
             std::vector<std::string> stop) {
            new (self) TextStream(std::move(model), std::move(prompt), state, max_tokens,
                                  {.temperature = temperature,
                                   .top_k = top_k,
                                   .top_p = top_p,
                                   .min_p = min_p,
                                   .repetition_penalty = repetition_penalty,
                                   .repetition_window = repetition_window,
                                   .seed = seed},
                                  std::move(stop));
          },
          arg("model"), arg("prompt").none(), arg("state").none(), arg("max_tokens"),
          arg("temperature"), arg("top_k"), arg("top_p"), arg("min_p"), arg("repetition_penalty"),
          arg("repetition_window"), arg("seed"), arg("stop"))
      .def("__iter__", [](nb::handle self) { return nb::borrow(self); })
      .def("__next__", &TextStream::next)
      .def_prop_ro("state", &TextStream::state);
}

}  // namespace mmrec::python
