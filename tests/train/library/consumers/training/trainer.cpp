// trainer CHECKPOINT LOGITS: trains a model on its own tokens with the project's trainer, saves it,
// and writes the logits that follow a text, for comparison.
#include <mmrec/train.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

namespace {

/// A stream of tokens that the program makes itself.
std::vector<int32_t> tokens(const mmrec::Tokenizer& tokenizer, int from, int to) {
  std::string text;
  for (int i = from; i < to; ++i)
    text += std::to_string(i) + " and " + std::to_string(i + 1) + ". ";
  return tokenizer.encode(text, "the numbers");
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3) return 2;
  const mmrec::Tokenizer tokenizer = mmrec::Tokenizer::of_bytes();
  mmrec::TrainOptions options;
  options.config.vocab_size = mmrec::padded_vocabulary(tokenizer.size());
  options.config.dim = 32;
  options.config.layers = 2;
  options.config.mem_slots = 64;
  options.batch = 4;
  options.sequence = options.validation_sequence = 64;
  options.steps = 120;
  options.optimizer.learning_rate = 1e-2f;
  options.dropout = 0;
  check_options(options);

  mmrec::Trainer trainer(options, {.tokenizer = tokenizer,
                                   .train = tokens(tokenizer, 100, 2000),
                                   .validation = tokens(tokenizer, 2000, 2200)});
  double first = 0, validation = 0;
  while (!trainer.is_done()) {
    const mmrec::MetricsRow row = trainer.step();
    if (row.step == 1) first = row.loss;
    if (trainer.validation_is_due()) validation = trainer.validate().loss;
  }
  std::printf("trainer: loss %.3f, then %.3f on other numbers\n", first, validation);
  if (!(validation < 0.6 * first)) return 1;
  save_checkpoint(argv[1], trainer.config(), trainer.tokenizer(), trainer.parameters(),
                  trainer.state());

  const mmrec::Checkpoint checkpoint(argv[1]);
  mmrec::Parameters parameters(checkpoint.config, mmrec::Parameters::Arrays::kWeights);
  checkpoint.read_weights(parameters);
  mmrec::TextGenerator generator(checkpoint.config, checkpoint.tokenizer.size(), parameters,
                                 checkpoint.state.seed, {});
  generator.advance(tokens(checkpoint.tokenizer, 300, 310));
  const mmrec::Tensor logits = generator.read(checkpoint.tokenizer.encode("3", "a digit"));
  std::ofstream(argv[2], std::ios::binary)
      .write(reinterpret_cast<const char*>(logits.data()),
             static_cast<std::streamsize>(logits.count() * sizeof(float)));
} catch (const mmrec::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
