#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/model.h"
#include "train/data/tokenizer.h"
#include "train/infer/sampler.h"
#include "train/infer/text_state.h"

namespace mmrec {

/// Returns the prompt of a text that continues nothing: a newline, or <UNK> if the tokenizer has
/// none.
std::vector<int32_t> neutral_prompt(const Tokenizer& tokenizer);

/// Generates text one token at a time, several samples in one batch. Only the recurrent state is
/// carried from token to token, so the cost per token does not grow with the text.
class TextGenerator {
 public:
  /// seed: the run's, for the model's random arrays. Each sample draws from its own random stream.
  /// trained_window: length of the training windows, for the message when the state overflows; 0:
  /// unknown. precision: the models'.
  TextGenerator(const Config& config, int vocabulary, Parameters& parameters, uint64_t seed,
                const Sampling& sampling, int samples = 1, int trained_window = 0,
                Precision precision = Precision::kFloat32);

  /// Goes on with a text in all samples: what is read next follows it, and what was read before is
  /// forgotten. Throws an Error if the state is one of another model.
  void go_on(const TextState& state);
  /// Returns what goes on with the first sample's text, of which all that has been read is a part.
  TextState state() const;

  /// Reads what comes next in all samples, in windows and so faster than token by token, and gives
  /// no logits. Several samples must have read the same so far.
  void advance(std::span<const int32_t> ids);
  /// advance() and then read() with the last token, of which there must be one.
  void read_prompt(std::span<const int32_t> ids);
  /// Reads one token per sample. Returns the logits of the next, [samples][vocabulary], valid until
  /// the next call.
  Tensor read(std::span<const int32_t> ids);
  /// Reads a token of a single sample. Writes the logits of the next, [vocabulary], to memory of
  /// the caller, not to where choose() takes them from.
  void read(int32_t id, std::span<float> logits);
  /// Chooses the next token of each sample. Pass them to read() to continue.
  std::span<const int32_t> choose();
  /// Returns the models' memory in bytes.
  static size_t bytes(const Config& config, int samples, Precision precision);

 private:
  /// Reads one token per sample; logits: [1][samples][vocabulary].
  void read_to(std::span<const int32_t> ids, const Tensor& logits);
  /// Adds tokens to the last ones of a sample.
  void remember(size_t sample, std::span<const int32_t> ids);

  Sampling sampling_;
  Sampler sampler_;
  // whole windows of the prompt, the rest of it token by token, then all samples
  Model window_;
  std::unique_ptr<Model> token_;  // if there are several samples; a single one reads the rest
  Model model_;
  Arena arena_;
  IntTensor window_ids_, ids_;
  Tensor logits_;
  std::vector<std::vector<int32_t>> recent_;  // per sample, at most repetition_window tokens
  std::vector<int32_t> chosen_;
  uint64_t draws_ = 0;
  int trained_window_;
  int64_t tokens_ = 0;  // read by each sample
};

}  // namespace mmrec
