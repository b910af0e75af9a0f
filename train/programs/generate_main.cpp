#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "support/console.h"
#include "support/error.h"
#include "support/names.h"
#include "train/infer/text_generator.h"
#include "train/programs/command_line.h"
#include "train/run/checkpoint.h"

int main(int argc, char** argv) {
  using namespace mmrec;
  Program program("generate", "Continues a text with a trained model.", "generate --checkpoint checkpoints/tiny --prompt \"KING:\" --tokens 500");
  std::string path, prompt;
  int64_t tokens = 500;
  int samples = 1;
  bool json = false;
  Sampling sampling;

  CLI::App& app = program.app();
  app.add_option("--checkpoint", path, "a checkpoint's folder, or a run's: then its best model")->required();
  const CLI::Option* prompt_option =
      app.add_option("--prompt", prompt, "the text to continue; - reads it from standard input (default: a text begins)")->default_str("");
  number(app, "--tokens", tokens, "tokens to generate", {.at_least = 0});
  number(app, "--samples", samples, "continuations, made side by side", {.at_least = 1, .at_most = 65536});
  number(app, "--temperature", sampling.temperature, "below 1: more probable text, above: more varied; 0: as --greedy", {.at_least = 0});
  number(app, "--top-k", sampling.top_k, "choose among the k most probable tokens only, 0: among all", {.at_least = 0});
  number(app, "--top-p", sampling.top_p, "choose among the most probable tokens that together have this probability", {.more_than = 0, .at_most = 1});
  number(app, "--repetition-penalty", sampling.repetition_penalty, "above 1: tokens that were used lately become less probable", {.more_than = 0});
  number(app, "--repetition-window", sampling.repetition_window, "how many of the last tokens were used lately", {.at_least = 0, .at_most = 1e6});
  app.add_flag("--greedy", sampling.greedy, "always the most probable token");
  app.add_flag("--json", json, "print texts and settings as JSON, at the end");

  return program.run(argc, argv, [&] {
    sampling.seed = program.seed();
    if (samples > 1 && (sampling.greedy || sampling.temperature == 0))
      fail_usage("--samples {}: greedy texts are all the same; give a --temperature above 0 or leave --samples out", samples);
    const Checkpoint checkpoint(path);
    const Tokenizer& tokenizer = checkpoint.tokenizer;
    Parameters parameters(checkpoint.config);
    checkpoint.read_weights(parameters);

    if (prompt == "-") {
      if (::isatty(STDIN_FILENO)) print(stderr, "type the text to continue; Ctrl-D on a line of its own ends it\n");
      prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
    }
    std::vector<int32_t> ids = neutral_prompt(tokenizer);
    if (prompt_option->count() > 0) {
      ids = tokenizer.encode(prompt, "--prompt");
      if (ids.empty()) fail_usage("--prompt: there must be at least one character to continue");
      CharacterCounts counts;
      count_characters(prompt, "--prompt", counts);
      const std::string unknown = describe_unknown(tokenizer, counts);
      if (std::ranges::count(ids, Tokenizer::kUnknown) == std::ssize(ids)) fail("--prompt: the model knows none of it: {}", unknown);
      if (!unknown.empty() && !program.quiet()) print_warning("--prompt: " + unknown);
    } else if (ids.front() != Tokenizer::kUnknown) {
      prompt = tokenizer.decode(ids);
    }

    TextGenerator generator(checkpoint.config, tokenizer.size(), parameters, checkpoint.state.seed, sampling, samples,
                            checkpoint.state.progress ? checkpoint.state.progress->options.sequence : 0);
    const bool streams = samples == 1 && !json;
    // A model may have learnt escape sequences from its text. On a terminal they are shown and have
    // no effect. A carriage return is held back until the next character, which decides whether it
    // ends a line.
    auto show = [on_terminal = ::isatty(STDOUT_FILENO) == 1, waiting = std::string()](std::string_view text) mutable {
      if (!on_terminal) return print(stdout, text);
      const std::string shown = std::exchange(waiting, "") + std::string(text);
      if (shown.ends_with('\r')) waiting = "\r";
      print(stdout, visible(std::string_view(shown).substr(0, shown.size() - waiting.size())));
    };
    const auto begin = std::chrono::steady_clock::now();
    generator.read_prompt(ids);
    if (streams) show(prompt);
    std::vector<std::string> texts(samples);
    for (int64_t i = 0; i < tokens && !std::ferror(stdout); ++i) {
      const std::span<const int32_t> chosen = generator.choose();
      for (int b = 0; b < samples; ++b) {
        if (streams)
          show(tokenizer.decode(chosen[b]));
        else
          texts[b] += tokenizer.decode(chosen[b]);
      }
      if (i + 1 < tokens) generator.read(chosen);
    }
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;

    if (streams) {
      show("\n");
    } else if (json) {
      const nlohmann::ordered_json result = {{"checkpoint", text_of_name(checkpoint.folder.string())},
                                             {"prompt", prompt},
                                             {"texts", texts},
                                             {"tokens", tokens},
                                             {"temperature", sampling.temperature},
                                             {"top_k", sampling.top_k},
                                             {"top_p", sampling.top_p},
                                             {"repetition_penalty", sampling.repetition_penalty},
                                             {"repetition_window", sampling.repetition_window},
                                             {"greedy", sampling.greedy},
                                             {"seed", sampling.seed},
                                             {"seconds", time.count()},
                                             {"tokens_per_second", static_cast<double>(tokens * samples) / time.count()}};
      print(stdout, result.dump(2) + "\n");
    } else {
      for (int b = 0; b < samples; ++b) show(fmt::format("{}--- sample {} of {} ---\n{}{}\n", b > 0 ? "\n" : "", b + 1, samples, prompt, texts[b]));
    }
  });
}
