#include <chrono>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numbers>
#include <vector>

#include "runtime/machine.h"
#include "runtime/threads.h"
#include "support/console.h"
#include "support/error.h"
#include "support/names.h"
#include "train/infer/evaluation.h"
#include "train/programs/command_line.h"
#include "train/run/checkpoint.h"
#include "train/run/data.h"

int main(int argc, char** argv) {
  using namespace mmrec;
  Program program("evaluate", "Measures a model on a text.", "evaluate --checkpoint checkpoints/book --data book.txt");
  std::string path, data, part = "validation", validation_split;
  int sequence = TrainOptions().validation_sequence;
  bool stream = false, json = false;

  CLI::App& app = program.app();
  app.add_option("--checkpoint", path, "a checkpoint's folder, or a run's: then its best model")->required();
  app.add_option("--data", data, "as of train: sample, a text file, or a folder (default: what the model was trained on)");
  app.add_option("--part", part, "of the text: validation, train, or all")->check(one_of({"validation", "train", "all"}));
  app.add_option("--val-split", validation_split, "as of train, for a text file (default: as when the model was trained)");
  const CLI::Option* sequence_option =
      number(app, "--seq", sequence, "tokens a window (default: as in the validations of the training)", {.at_least = 1})->default_str("");
  app.add_flag("--stream", stream, "carry the state through the whole text, in place of windows that each start afresh");
  app.add_flag("--json", json, "print the figures as JSON");

  return program.run(argc, argv, [&] {
    const Checkpoint checkpoint(path);
    const std::string folder = checkpoint.folder.string();
    Parameters parameters(checkpoint.config);
    checkpoint.read_weights(parameters);

    TrainOptions source;
    int trained = 0;  // length of the training windows; 0: unknown
    if (checkpoint.state.progress) {
      source.data = checkpoint.state.progress->options.data;
      source.validation_split = checkpoint.state.progress->options.validation_split;
      if (sequence_option->count() == 0) sequence = checkpoint.state.progress->options.validation_sequence;
      trained = checkpoint.state.progress->options.sequence;
    } else if (data.empty()) {
      fail_usage("--data is required: {} does not say what it was trained on", folder);
    }
    if (!data.empty()) source.data = data;
    if (!validation_split.empty()) {
      check_can_be_split(source.data, validation_split);
      source.validation_split = validation_split;
    }
    if (part == "all") source.validation_split = "0";  // a folder still has two texts
    const RunData texts = load_data(source, checkpoint.tokenizer);
    const auto warn = [&](const std::string& text) {
      if (!program.quiet()) print_warning(text);
    };
    Console console(program.quiet() || json);
    for (const Note& note : texts.notes)
      if (note.style == Style::kWarning)
        warn(note.text);
      else
        console.line(note.text);
    if (!texts.unknown.empty()) warn(source.data + ": " + texts.unknown);
    const bool same_as_trained = data.empty() && validation_split.empty() && part != "all";
    if (same_as_trained && !texts.is(checkpoint.state.progress->data))
      warn(fmt::format("{} has changed since the model was trained on it: {} now, {} then{}", source.data, describe(texts.fingerprint()),
                       describe(checkpoint.state.progress->data), texts.read_otherwise));

    std::vector<Tokens> parts;
    if (part != "validation") parts.push_back(texts.train);
    if (part != "train") parts.push_back(texts.validation);
    std::erase_if(parts, [](const Tokens& text) { return text.count() < 2; });
    if (parts.empty()) fail_usage("--part {}: there are not two characters of it in {}; give another --part or --val-split", part, source.data);
    int64_t characters = 0;
    for (const Tokens& text : parts) characters += text.count();

    console.line(describe_machine(start_threads()));
    console.line(fmt::format("checkpoint          {} (step {})", folder, checkpoint.state.step));
    console.line(fmt::format("text                {}, {}: {} characters", source.data, part == "all" ? part : part + " part", characters));

    const int vocabulary = model_vocabulary(checkpoint.config, checkpoint.tokenizer);
    using Clock = std::chrono::steady_clock;
    const auto begin = Clock::now();
    auto shown = begin;
    LossSum sum;
    int window = sequence;
    for (const Tokens& text : parts) {
      window = static_cast<int>(std::min<int64_t>(sequence, text.count() - 1));
      const int64_t before = sum.tokens;
      const auto observe = [&](int64_t tokens) {
        if (!console.has_status() || Clock::now() - shown < std::chrono::milliseconds(100)) return;
        shown = Clock::now();
        console.status(percent(static_cast<double>(before + tokens) / static_cast<double>(characters)));
      };
      LossSum of_part;
      int64_t finite = 0;
      if (stream) {
        of_part = stream_loss(checkpoint.config, vocabulary, parameters, checkpoint.state.seed, text, window, observe);
        finite = of_part.tokens;
      } else {
        Evaluation evaluation(checkpoint.config, vocabulary, parameters, checkpoint.state.seed, WindowSet(text, window, "the text"));
        of_part = evaluation.run(observe);
        finite = evaluation.finite_tokens();
      }
      if (!std::isfinite(of_part.loss)) {
        console.erase_status();
        const bool is_outgrown = trained > 0 && finite >= trained;
        fail("{}: the loss is {}: {}{}", folder, std::abs(of_part.loss), describe_overflow(finite, trained),
             is_outgrown ? fmt::format("; measure {}with --seq {}", stream ? "without --stream and " : "", trained) : "");
      }
      sum += of_part;
    }
    console.erase_status();
    const std::chrono::duration<double> time = Clock::now() - begin;
    const double loss = sum.mean_loss(), speed = static_cast<double>(sum.tokens) / time.count();

    const double bits = loss / std::numbers::ln2;  // a token is a character
    if (json) {
      const nlohmann::ordered_json result = {{"checkpoint", text_of_name(folder)},
                                             {"step", checkpoint.state.step},
                                             {"data", text_of_name(source.data)},
                                             {"part", part},
                                             {"characters", characters},
                                             {"positions", sum.tokens},
                                             {"stream", stream},
                                             {"window", window},
                                             {"loss", loss},
                                             {"perplexity", std::exp(loss)},
                                             {"accuracy", sum.accuracy()},
                                             {"bits_per_character", bits},
                                             {"seconds", time.count()},
                                             {"tokens_per_second", speed}};
      print(stdout, result.dump(2) + "\n");
      return;
    }
    console.line(fmt::format("predicted           {} characters, {}", sum.tokens,
                             stream ? "the state carried through the text" : fmt::format("in windows of {} that each start afresh", window)));
    console.line(fmt::format("loss                {:.4f}", loss));
    console.line(fmt::format("perplexity          {:.4f}", std::exp(loss)));
    console.line(fmt::format("accuracy            {:.2f} %", 100 * sum.accuracy()));
    console.line(fmt::format("bits per character  {:.4f}", bits));
    console.line(fmt::format("speed               {:.0f} tokens/s", speed));
  });
}
