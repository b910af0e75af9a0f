#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/threads.h"
#include "support/console.h"
#include "support/error.h"
#include "support/names.h"
#include "train/infer/text_generator.h"
#include "train/programs/command_line.h"
#include "train/run/checkpoint.h"

namespace {

using namespace mmrec;

/// The command line.
struct Request {
  std::string checkpoint, prompt;
  bool prompt_is_given = false;
  int64_t tokens = 500;
  int samples = 1;
  bool json = false;
  Sampling sampling;
};

/// Returns the prompt's ids. Fills in the prompt's text, from standard input for "-".
std::vector<int32_t> prompt_ids(Request& request, const Tokenizer& tokenizer, bool quiet) {
  std::string& prompt = request.prompt;
  if (prompt == "-") {
    if (::isatty(STDIN_FILENO))
      print(stderr, "type the text to continue; Ctrl-D on a line of its own ends it\n");
    prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
  }
  std::vector<int32_t> ids = neutral_prompt(tokenizer);
  if (request.prompt_is_given) {
    ids = tokenizer.encode(prompt, "--prompt");
    if (ids.empty()) fail_usage("--prompt: there must be at least one character to continue");
    CharacterCounts counts;
    count_characters(prompt, "--prompt", counts);
    const std::string unknown = describe_unknown(tokenizer, counts);
    if (std::ranges::count(ids, Tokenizer::kUnknown) == std::ssize(ids))
      fail("--prompt: the model knows none of it: {}", unknown);
    if (!unknown.empty() && !quiet) print_warning("--prompt: " + unknown);
  } else if (ids.front() != Tokenizer::kUnknown) {
    prompt = tokenizer.decode(ids);
  }
  return ids;
}

/// Prints text piece by piece. A model may have learnt escape sequences from its text: on a
/// terminal they are shown and have no effect. A carriage return is held back until the next
/// character, which decides whether it ends a line.
class Display {
 public:
  void show(std::string_view text) {
    if (!on_terminal_) return print(stdout, text);
    const std::string shown = std::exchange(waiting_, "") + std::string(text);
    if (shown.ends_with('\r')) waiting_ = "\r";
    print(stdout, visible(std::string_view(shown).substr(0, shown.size() - waiting_.size())));
  }

 private:
  const bool on_terminal_ = ::isatty(STDOUT_FILENO) == 1;
  std::string waiting_;
};

void print_json(const Request& request, const Checkpoint& checkpoint,
                const std::vector<std::string>& texts, double seconds) {
  const Sampling& sampling = request.sampling;
  const nlohmann::ordered_json result = {
      {"checkpoint", text_of_name(checkpoint.folder.string())},
      {"prompt", request.prompt},
      {"texts", texts},
      {"tokens", request.tokens},
      {"temperature", sampling.temperature},
      {"top_k", sampling.top_k},
      {"top_p", sampling.top_p},
      {"repetition_penalty", sampling.repetition_penalty},
      {"repetition_window", sampling.repetition_window},
      {"greedy", sampling.greedy},
      {"seed", sampling.seed},
      {"seconds", seconds},
      {"tokens_per_second", static_cast<double>(request.tokens * request.samples) / seconds}};
  print(stdout, result.dump(2) + "\n");
}

void generate(Request& request, bool quiet) {
  const int samples = request.samples;
  if (samples > 1 && (request.sampling.greedy || request.sampling.temperature == 0))
    fail_usage(
        "--samples {}: greedy texts are all the same; give a --temperature above 0 or leave "
        "--samples out",
        samples);
  const Checkpoint checkpoint(request.checkpoint);
  const Tokenizer& tokenizer = checkpoint.tokenizer;
  Parameters parameters(checkpoint.config, Parameters::Arrays::kWeights);
  checkpoint.read_weights(parameters);
  const std::vector<int32_t> ids = prompt_ids(request, tokenizer, quiet);

  TextGenerator generator(
      checkpoint.config, tokenizer.size(), parameters, checkpoint.state.seed, request.sampling,
      samples, checkpoint.state.progress ? checkpoint.state.progress->options.sequence : 0);
  const bool streams = samples == 1 && !request.json;
  Display display;
  const auto begin = std::chrono::steady_clock::now();
  generator.read_prompt(ids);
  if (streams) display.show(request.prompt);
  std::vector<std::string> texts(samples);
  std::exception_ptr problem;  // what there is of the texts is shown before it, but not as JSON
  try {
    for (int64_t i = 0; i < request.tokens && !std::ferror(stdout); ++i) {
      const std::span<const int32_t> chosen = generator.choose();
      for (int b = 0; b < samples; ++b) {
        if (streams)
          display.show(tokenizer.decode(chosen[b]));
        else
          texts[b] += tokenizer.decode(chosen[b]);
      }
      if (i + 1 < request.tokens) generator.read(chosen);
    }
  } catch (const Error&) {
    problem = std::current_exception();
  }
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;

  if (problem && request.json) std::rethrow_exception(problem);
  if (streams)
    display.show("\n");
  else if (request.json)
    print_json(request, checkpoint, texts, time.count());
  else
    for (int b = 0; b < samples; ++b)
      display.show(fmt::format("{}--- sample {} of {} ---\n{}{}\n", b > 0 ? "\n" : "", b + 1,
                               samples, request.prompt, texts[b]));
  if (problem) std::rethrow_exception(problem);
}

}  // namespace

int main(int argc, char** argv) {
  Program program("generate", "Continues a text with a trained model.",
                  "generate --checkpoint checkpoints/tiny --prompt \"KING:\" --tokens 500");
  Request request;
  CLI::App& app = program.app();
  app.add_option("--checkpoint", request.checkpoint,
                 "a checkpoint's folder, or a run's: then its best model")
      ->required();
  const CLI::Option* prompt_option =
      app.add_option(
             "--prompt", request.prompt,
             "the text to continue; - reads it from standard input (default: a text begins)")
          ->default_str("");
  number(app, "--tokens", request.tokens, "tokens to generate", {.at_least = 0});
  number(app, "--samples", request.samples, "continuations, made side by side",
         {.at_least = 1, .at_most = 65536});
  number(app, "--temperature", request.sampling.temperature,
         "below 1: more probable text, above: more varied; 0: as --greedy", {.at_least = 0});
  number(app, "--top-k", request.sampling.top_k,
         "choose among the k most probable tokens only, 0: among all", {.at_least = 0});
  number(app, "--top-p", request.sampling.top_p,
         "choose among the most probable tokens that together have this probability",
         {.more_than = 0, .at_most = 1});
  number(app, "--repetition-penalty", request.sampling.repetition_penalty,
         "above 1: tokens that were used lately become less probable", {.more_than = 0});
  number(app, "--repetition-window", request.sampling.repetition_window,
         "how many of the last tokens were used lately", {.at_least = 0, .at_most = 1e6});
  app.add_flag("--greedy", request.sampling.greedy, "always the most probable token");
  app.add_flag("--json", request.json, "print texts and settings as JSON, at the end");

  return program.run(argc, argv, [&] {
    request.sampling.seed = program.seed();
    request.prompt_is_given = prompt_option->count() > 0;
    run_with_threads([&] { generate(request, program.quiet()); });
  });
}
