#include <chrono>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>
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

namespace {

using namespace mmrec;
using Clock = std::chrono::steady_clock;

/// The command line.
struct Request {
  std::string checkpoint, data, part = "validation", validation_split;
  int sequence = TrainOptions().validation_sequence;
  bool sequence_is_given = false, stream = false, json = false;

  /// Whether the text is the one the model was trained on, split as in training.
  bool is_of_training() const { return data.empty() && validation_split.empty() && part != "all"; }
};

struct Result {
  LossSum sum;
  int window;
  double seconds;
  double bytes_per_token;

  double tokens_per_second() const { return static_cast<double>(sum.tokens) / seconds; }
  double bits_per_token() const { return sum.mean_loss() / std::numbers::ln2; }
  double bits_per_byte() const { return bits_per_token() / bytes_per_token; }
};

/// Returns options that name the text and its split.
TrainOptions source_of(const Request& request, const Checkpoint& checkpoint) {
  TrainOptions source;
  if (const auto& progress = checkpoint.state.progress) {
    source.data = progress->options.data;
    source.validation_split = progress->options.validation_split;
  } else if (request.data.empty()) {
    fail_usage("--data is required: {} does not say what it was trained on",
               checkpoint.folder.string());
  }
  if (!request.data.empty()) source.data = request.data;
  if (!request.validation_split.empty()) {
    check_can_be_split(source.data, request.validation_split);
    source.validation_split = request.validation_split;
  }
  if (request.part == "all") source.validation_split = "0";  // a folder still has two texts
  return source;
}

void describe_texts(const Request& request, const Checkpoint& checkpoint,
                    const TrainOptions& source, const RunData& texts, Console& console,
                    bool quiet) {
  const auto warn = [&](const std::string& text) {
    if (!quiet) print_warning(text);
  };
  for (const Note& note : texts.notes)
    if (note.style == Style::kWarning)
      warn(note.text);
    else
      console.line(note.text);
  if (!texts.unknown.empty()) warn(source.data + ": " + texts.unknown);
  if (request.is_of_training() && !texts.is(checkpoint.state.progress->data))
    warn(fmt::format("{} has changed since the model was trained on it: {} now, {} then{}",
                     source.data, describe(texts.fingerprint(), texts.tokenizer.unit()),
                     describe(checkpoint.state.progress->data, texts.tokenizer.unit()),
                     texts.read_otherwise));
}

/// Returns the requested texts that have something to predict. Throws a UsageError if there are
/// none.
std::vector<Tokens> requested_parts(const std::string& part, const RunData& texts,
                                    const std::string& data) {
  std::vector<Tokens> parts;
  if (part != "validation") parts.push_back(texts.train);
  if (part != "train") parts.push_back(texts.validation);
  std::erase_if(parts, [](const Tokens& text) { return text.count() < 2; });
  if (parts.empty())
    fail_usage(
        "--part {}: there are not two tokens of it in {}; give another --part or --val-split", part,
        data);
  return parts;
}

Result measure(const Request& request, const Checkpoint& checkpoint, Parameters& parameters,
               const std::vector<Tokens>& parts, int64_t tokens_in_all, Console& console) {
  const std::optional<TrainingProgress>& progress = checkpoint.state.progress;
  const int trained =
      progress ? progress->options.sequence : 0;  // length of the training windows; 0: unknown
  const int sequence = progress && !request.sequence_is_given
                           ? progress->options.validation_sequence
                           : request.sequence;
  const int vocabulary = model_vocabulary(checkpoint.config, checkpoint.tokenizer);
  const auto begin = Clock::now();
  auto shown = begin;
  LossSum sum;
  double bytes = 0;
  int window = sequence;
  for (const Tokens& text : parts) {
    bytes += bytes_per_token(text, checkpoint.tokenizer) * static_cast<double>(text.count());
    window = static_cast<int>(std::min<int64_t>(sequence, text.count() - 1));
    const int64_t before = sum.tokens;
    const auto observe = [&](int64_t tokens) {
      if (!console.has_status() || Clock::now() - shown < std::chrono::milliseconds(100)) return;
      shown = Clock::now();
      console.status(
          percent(static_cast<double>(before + tokens) / static_cast<double>(tokens_in_all)));
    };
    LossSum of_part;
    int64_t finite = 0;
    if (request.stream) {
      of_part = stream_loss(checkpoint.config, vocabulary, parameters, checkpoint.state.seed, text,
                            window, observe);
      finite = of_part.tokens;
    } else {
      Evaluation evaluation(checkpoint.config, vocabulary, parameters, checkpoint.state.seed,
                            WindowSet(text, window, "the text"));
      of_part = evaluation.run(observe);
      finite = evaluation.finite_tokens();
    }
    if (!std::isfinite(of_part.loss)) {
      console.erase_status();
      const bool is_outgrown = trained > 0 && finite >= trained;
      fail("{}: the loss is {}: {}{}", checkpoint.folder.string(), std::abs(of_part.loss),
           describe_overflow(finite, trained),
           is_outgrown ? fmt::format("; measure {}with --seq {}",
                                     request.stream ? "without --stream and " : "", trained)
                       : "");
    }
    sum += of_part;
  }
  console.erase_status();
  const std::chrono::duration<double> time = Clock::now() - begin;
  return {sum, window, time.count(), bytes / static_cast<double>(tokens_in_all)};
}

void print_json(const Request& request, const Checkpoint& checkpoint, const std::string& data,
                int64_t tokens, const Result& result) {
  const double loss = result.sum.mean_loss();
  const Tokenizer& tokenizer = checkpoint.tokenizer;
  nlohmann::ordered_json figures = {
      {"checkpoint", text_of_name(checkpoint.folder.string())},
      {"step", checkpoint.state.step},
      {"data", text_of_name(data)},
      {"part", request.part},
      {tokenizer.unit(), tokens},
      {"positions", result.sum.tokens},
      {"stream", request.stream},
      {"window", result.window},
      {"loss", loss},
      {"perplexity", std::exp(loss)},
      {"accuracy", result.sum.accuracy()},
  };
  if (tokenizer.kind() == TokenKind::kCharacter)
    figures["bits_per_character"] = result.bits_per_token();
  figures.update({{"bits_per_byte", result.bits_per_byte()},
                  {"seconds", result.seconds},
                  {"tokens_per_second", result.tokens_per_second()}});
  print(stdout, figures.dump(2) + "\n");
}

void print_lines(const Request& request, const Tokenizer& tokenizer, const Result& result,
                 Console& console) {
  const double loss = result.sum.mean_loss();
  console.line(fmt::format(
      "predicted           {} {}, {}", result.sum.tokens, tokenizer.unit(),
      request.stream ? "the state carried through the text"
                     : fmt::format("in windows of {} that each start afresh", result.window)));
  console.line(fmt::format("loss                {:.4f}", loss));
  console.line(fmt::format("perplexity          {:.4f}", std::exp(loss)));
  console.line(fmt::format("accuracy            {:.2f} %", 100 * result.sum.accuracy()));
  if (tokenizer.kind() == TokenKind::kCharacter)
    console.line(fmt::format("bits per character  {:.4f}", result.bits_per_token()));
  console.line(fmt::format("bits per byte       {:.4f}", result.bits_per_byte()));
  console.line(fmt::format("speed               {:.0f} tokens/s", result.tokens_per_second()));
}

void evaluate(const Request& request, bool quiet) {
  const Checkpoint checkpoint(request.checkpoint);
  Parameters parameters(checkpoint.config, Parameters::Arrays::kWeights);
  checkpoint.read_weights(parameters);

  const TrainOptions source = source_of(request, checkpoint);
  const RunData texts = load_data(source, checkpoint.tokenizer);
  Console console(quiet || request.json);
  describe_texts(request, checkpoint, source, texts, console, quiet);
  const std::vector<Tokens> parts = requested_parts(request.part, texts, source.data);
  int64_t tokens = 0;
  for (const Tokens& text : parts) tokens += text.count();

  console.line(describe_machine(start_threads()));
  console.line(fmt::format("checkpoint          {} (step {})", checkpoint.folder.string(),
                           checkpoint.state.step));
  console.line(fmt::format("text                {}, {}: {} {}", source.data,
                           request.part == "all" ? "all" : request.part + " part", tokens,
                           checkpoint.tokenizer.unit()));
  Result result{};
  run_with_threads(
      [&] { result = measure(request, checkpoint, parameters, parts, tokens, console); });
  if (request.json)
    print_json(request, checkpoint, source.data, tokens, result);
  else
    print_lines(request, checkpoint.tokenizer, result, console);
}

}  // namespace

int main(int argc, char** argv) {
  Program program("evaluate", "Measures a model on a text.",
                  "evaluate --checkpoint checkpoints/book --data book.txt");
  Request request;
  CLI::App& app = program.app();
  app.add_option("--checkpoint", request.checkpoint,
                 "a checkpoint's folder, or a run's: then its best model")
      ->required();
  app.add_option(
      "--data", request.data,
      "as of train: sample, a text file, or a folder (default: what the model was trained on)");
  app.add_option("--part", request.part, "of the text: validation, train, or all")
      ->check(one_of({"validation", "train", "all"}));
  app.add_option("--val-split", request.validation_split,
                 "as of train, for a text file (default: as when the model was trained)");
  const CLI::Option* sequence_option =
      number(app, "--seq", request.sequence,
             "tokens a window (default: as in the validations of the training)", {.at_least = 1})
          ->default_str("");
  app.add_flag(
      "--stream", request.stream,
      "carry the state through the whole text, in place of windows that each start afresh");
  app.add_flag("--json", request.json, "print the figures as JSON");

  return program.run(argc, argv, [&] {
    request.sequence_is_given = sequence_option->count() > 0;
    evaluate(request, program.quiet());
  });
}
