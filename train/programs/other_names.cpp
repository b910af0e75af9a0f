#include "train/programs/other_names.h"

#include <algorithm>
#include <cctype>

namespace mmrec {

namespace {

/// Of a name that is there more than once, the first row counts that the program has.
struct OtherName {
  std::string_view there, here;
};

constexpr OtherName kOtherNames[] = {
    {"batch-size", "--batch"},
    {"bf16", "--precision bf16"},
    {"block-size", "--seq"},
    {"chat", "--interactive"},
    {"ckpt", "--checkpoint"},
    {"context-length", "--seq"},
    {"continue", "--resume"},
    {"corpus", "--data"},
    {"ctx-len", "--seq"},
    {"ctx-size", "--seq"},
    {"d-model", "--set dim=N"},
    {"dataset", "--data"},
    {"depth", "--set layers=N"},
    {"dim", "--set dim=N"},
    {"dtype", "--precision"},
    {"ema", "--average"},
    {"eval-interval", "--eval-every"},
    {"eval-iters", "--val-tokens"},
    {"file", "--data"},
    {"file", "--input-file"},
    {"folder", "--data"},
    {"folder", "--input-dir"},
    {"force", "--overwrite"},
    {"grad-accum", "--accumulate"},
    {"grad-clip", "--clip"},
    {"grad-cp", "--recompute"},
    {"gradient-accumulation-steps", "--accumulate"},
    {"gradient-checkpointing", "--recompute"},
    {"heads", "--set heads=N"},
    {"hidden-size", "--set dim=N"},
    {"input", "--data"},
    {"iterations", "--steps"},
    {"iters", "--steps"},
    {"layers", "--set layers=N"},
    {"learning-rate", "--lr"},
    {"length", "--tokens"},
    {"max-iters", "--steps"},
    {"max-new-tokens", "--tokens"},
    {"max-steps", "--steps"},
    {"max-tokens", "--tokens"},
    {"min-lr", "--lr-min"},
    {"minutes", "--time"},
    {"model", "--checkpoint"},
    {"model", "--config"},
    {"n-embd", "--set dim=N"},
    {"n-head", "--set heads=N"},
    {"n-layer", "--set layers=N"},
    {"n-layers", "--set layers=N"},
    {"n-predict", "--tokens"},
    {"num-epochs", "--epochs"},
    {"num-heads", "--set heads=N"},
    {"num-layers", "--set layers=N"},
    {"num-samples", "--samples"},
    {"num-threads", "--threads"},
    {"output", "--out"},
    {"output-dir", "--out"},
    {"preset", "--config"},
    {"prompt-cache", "--state"},
    {"repeat-last-n", "--repetition-window"},
    {"repeat-penalty", "--repetition-penalty"},
    {"reverse-prompt", "--stop"},
    {"save-interval", "--save-every"},
    {"seq-len", "--seq"},
    {"seq-length", "--seq"},
    {"size", "--config"},
    {"start", "--prompt"},
    {"text", "--data"},
    {"text", "--prompt"},
    {"text", "--input-file"},
    {"vocab-size", "--vocab"},
    {"warmup-iters", "--warmup"},
    {"warmup-steps", "--warmup"},
    {"weight-decay", "--decay"},
    {"width", "--set dim=N"},
};

}  // namespace

std::string option_known_as(std::string_view name,
                            const std::function<bool(const std::string& option)>& has) {
  name.remove_prefix(std::min(name.find_first_not_of('-'), name.size()));
  std::string words(name);
  std::ranges::transform(words, words.begin(), [](unsigned char c) {
    return c == '_' ? '-' : static_cast<char>(std::tolower(c));
  });
  for (const auto& [there, here] : kOtherNames)
    if (there == words && has(std::string(here.substr(0, here.find(' ')))))
      return std::string(here);
  return "";
}

}  // namespace mmrec
