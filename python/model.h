#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "train/library/train.h"

namespace mmrec::python {

/// A model that is used. Its weights never change, so any number of texts may read them at a time.
struct LoadedModel {
  /// The caller fills in the weights, rounded for the precision. identity: what states of these
  /// weights, and no others, carry.
  LoadedModel(const Config& config, const Tokenizer& tokenizer, const RunState& state,
              std::string identity, Precision precision = Precision::kFloat32)
      : config(config),
        tokenizer(tokenizer),
        parameters(config, Parameters::Arrays::kWeights),
        step(state.step),
        seed(state.seed),
        trained_window(state.progress ? state.progress->options.sequence : 0),
        identity(std::move(identity)),
        precision(precision) {}

  /// Returns what reads and continues one text. It must not outlive the model.
  TextGenerator begin(const Sampling& sampling) {
    return {config, tokenizer.size(), parameters, seed, sampling, 1, trained_window, precision};
  }

  const Config config;
  const Tokenizer tokenizer;
  Parameters parameters;
  const int64_t step;
  const uint64_t seed;
  const int trained_window;
  const std::string identity;  ///< of the weights
  const Precision precision;

  /// What logits() reads with, made when it is first needed.
  struct Reader {
    explicit Reader(LoadedModel& model)
        : generator(model.begin({})), beginning(generator.state()) {}
    TextGenerator generator;
    const TextState beginning;
  };
  std::mutex reader_mutex;
  std::optional<Reader> reader;
};

}  // namespace mmrec::python
