#include <cstdio>
#include <iostream>
#include <iterator>

#include "runtime/error.h"
#include "train/checkpoint.h"
#include "train/command_line.h"
#include "train/generator.h"

int main(int argc, char** argv) {
  using namespace mmrec;
  Program program("generate", "Continues a text with a trained model.", "generate --checkpoint checkpoints/tiny --prompt \"KING:\" --tokens 500");
  std::string path, prompt = "\n";
  int64_t tokens = 500;
  Sampling sampling;

  CLI::App& app = program.app();
  app.add_option("--checkpoint", path, "a checkpoint's folder, or a run's: then its best model")->required();
  app.add_option("--prompt", prompt, "the text to continue; - reads it from standard input");
  app.add_option("--tokens", tokens, "tokens to generate")->check(at_least(0));
  app.add_option("--temperature", sampling.temperature, "below 1: more probable text, above: more varied")->check(more_than(0));
  app.add_flag("--greedy", sampling.greedy, "always the most probable token");

  return program.run(argc, argv, [&] {
    sampling.seed = program.seed();
    const Checkpoint checkpoint(path);
    Parameters parameters(checkpoint.config);
    checkpoint.read_weights(parameters);
    Generator generator(checkpoint.config, checkpoint.tokenizer.size(), parameters, checkpoint.state.seed, sampling);

    if (prompt == "-") prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
    const std::vector<int32_t> ids = checkpoint.tokenizer.encode(prompt, "--prompt");
    if (ids.empty()) fail_usage("--prompt: there must be at least one character to continue");
    for (const int32_t id : ids) generator.read(id);

    std::fwrite(prompt.data(), 1, prompt.size(), stdout);
    for (int64_t i = 0; i < tokens; ++i) {
      const int32_t id = generator.choose();
      fmt::print("{}", checkpoint.tokenizer.decode(id));
      std::fflush(stdout);
      if (i + 1 < tokens) generator.read(id);
    }
    std::fputs("\n", stdout);
  });
}
