#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "runtime/machine.h"
#include "runtime/threads.h"
#include "support/console.h"
#include "support/error.h"
#include "support/names.h"
#include "support/stopwatch.h"
#include "support/text_table.h"
#include "train/infer/copy_finder.h"
#include "train/infer/divergence.h"
#include "train/infer/evaluation.h"
#include "train/infer/ngrams.h"
#include "train/infer/sampling_json.h"
#include "train/infer/text_generator.h"
#include "train/infer/whole_characters.h"
#include "train/programs/command_line.h"
#include "train/run/checkpoint.h"
#include "train/run/data.h"
#include "train/run/precision.h"

namespace {

using namespace mmrec;
using Clock = std::chrono::steady_clock;

/// The command line.
struct Request {
  std::string checkpoint, data, part = "validation", validation_split, precision = "float32";
  std::string against;  ///< the precision of a model to compare the predictions with, or ""
  int sequence = TrainOptions().validation_sequence;
  bool sequence_is_given = false, stream = false, json = false;
  int texts = 0;  ///< to be written by the model; 0: the loss is measured
  int tokens = 500;
  Sampling sampling;

  /// Whether the text is the one the model was trained on, split as in training.
  bool is_of_training() const { return data.empty() && validation_split.empty() && part != "all"; }
};

struct Result {
  LossSum sum;
  int window;
  double seconds;
  BytesOfTokens bytes;
  Divergence divergence = {};  ///< from the predictions of Request::against

  double tokens_per_second() const { return static_cast<double>(sum.tokens) / seconds; }
  double bits_per_token() const { return sum.mean_loss() / std::numbers::ln2; }
  double bits_per_byte() const { return bytes.bits_per_byte(sum.mean_loss()); }
};

/// Status line with the part of the work that is done.
class Progress {
 public:
  Progress(Console& console, std::string what, int64_t total)
      : console_(console), what_(std::move(what)), total_(total) {}
  ~Progress() { console_.erase_status(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(int64_t done) {
    if (!console_.has_status() || Clock::now() - shown_ < std::chrono::milliseconds(100)) return;
    shown_ = Clock::now();
    console_.status(what_ + percent(static_cast<double>(done) / static_cast<double>(total_)));
  }

 private:
  Console& console_;
  std::string what_;
  int64_t total_;
  Clock::time_point shown_ = Clock::now();
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
  const int trained = checkpoint.trained_window();
  const int sequence = progress && !request.sequence_is_given
                           ? progress->options.validation_sequence
                           : request.sequence;
  const int vocabulary = model_vocabulary(checkpoint.config, checkpoint.tokenizer);
  const Precision precision = parse_precision(request.precision);
  const auto begin = Clock::now();
  Progress shown(console, "", tokens_in_all);
  LossSum sum;
  BytesOfTokens bytes;
  int window = sequence;
  for (const Tokens& text : parts) {
    bytes.add(text, checkpoint.tokenizer);
    window = static_cast<int>(std::min<int64_t>(sequence, text.count() - 1));
    const int64_t before = sum.tokens;
    const auto observe = [&](int64_t tokens) { shown.update(before + tokens); };
    LossSum of_part;
    int64_t finite = 0;
    if (request.stream) {
      of_part = stream_loss(checkpoint.config, vocabulary, parameters, checkpoint.state.seed, text,
                            window, observe, precision);
      finite = of_part.tokens;
    } else {
      Evaluation evaluation(checkpoint.config, vocabulary, parameters, checkpoint.state.seed,
                            WindowSet(text, window, "the text"), 0, 0, precision);
      of_part = evaluation.run(observe);
      finite = evaluation.finite_tokens();
    }
    if (!std::isfinite(of_part.loss)) {
      const bool is_outgrown = trained > 0 && finite >= trained;
      fail("{}: the loss is {}: {}{}", checkpoint.folder.string(), std::abs(of_part.loss),
           describe_overflow(finite, trained),
           is_outgrown ? fmt::format("; measure {}with --seq {}",
                                     request.stream ? "without --stream and " : "", trained)
                       : "");
    }
    sum += of_part;
  }
  const std::chrono::duration<double> time = Clock::now() - begin;
  return {sum, window, time.count(), bytes};
}

/// Returns how far the model's predictions for the texts are from those in Request::against.
Divergence compare(const Request& request, const Checkpoint& checkpoint, Parameters& parameters,
                   const std::vector<Tokens>& parts, const Result& measured, Console& console) {
  Parameters others(checkpoint.config, Parameters::Arrays::kWeights);
  const Precision precision = parse_precision(request.against);
  checkpoint.read_weights(others, precision);
  Progress shown(console, "comparing ", measured.sum.tokens);
  Divergence sum;
  for (const Tokens& text : parts) {
    const auto tokens = static_cast<int>(text.count() - 1);
    sum +=
        divergence(request.stream ? with_carried_state(checkpoint.config) : checkpoint.config,
                   model_vocabulary(checkpoint.config, checkpoint.tokenizer), checkpoint.state.seed,
                   {others, precision}, {parameters, parse_precision(request.precision)}, text,
                   request.stream ? tokens : std::min(measured.window, tokens),
                   [&, before = sum.tokens](int64_t done) { shown.update(before + done); });
  }
  return sum;
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
      {"precision", request.precision},
      {"loss", loss},
      {"perplexity", std::exp(loss)},
      {"accuracy", result.sum.accuracy()},
  };
  if (tokenizer.kind() == TokenKind::kCharacter)
    figures["bits_per_character"] = result.bits_per_token();
  figures.update({{"bits_per_byte", result.bits_per_byte()},
                  {"seconds", result.seconds},
                  {"tokens_per_second", result.tokens_per_second()}});
  if (!request.against.empty())
    figures.update({{"against", request.against},
                    {"divergence", result.divergence.mean()},
                    {"agreement", result.divergence.agreement()}});
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
  if (request.against.empty()) return;
  console.line(fmt::format("divergence          {:.3g} nats a token, from the predictions in {}",
                           result.divergence.mean(), request.against));
  console.line(fmt::format("agreement           {:.2f} % have the same most probable token",
                           100 * result.divergence.agreement()));
}

void evaluate_loss(const Request& request, const Checkpoint& checkpoint, Parameters& parameters,
                   const RunData& texts, const std::string& data, Console& console) {
  const std::vector<Tokens> parts = requested_parts(request.part, texts, data);
  int64_t tokens = 0;
  for (const Tokens& text : parts) tokens += text.count();
  console.line(fmt::format("text                {}, {}: {} {}", data,
                           request.part == "all" ? "all" : request.part + " part", tokens,
                           checkpoint.tokenizer.unit()));
  Result result{};
  run_with_threads([&] {
    result = measure(request, checkpoint, parameters, parts, tokens, console);
    if (!request.against.empty())
      result.divergence = compare(request, checkpoint, parameters, parts, result, console);
  });
  if (request.json)
    print_json(request, checkpoint, data, tokens, result);
  else
    print_lines(request, checkpoint.tokenizer, result, console);
}

/// Figures about texts of the model, or about passages of the validation text.
struct TextFigures {
  Variety variety;
  std::vector<Copy> copies;  ///< of each text, what the text compared with has, too

  TextFigures(std::span<const std::string> texts, std::span<const Copy> copies)
      : variety(variety_of(texts)), copies(copies.begin(), copies.end()) {}

  std::vector<Copy>::const_iterator longest() const {
    return std::ranges::max_element(copies, {}, &Copy::length);
  }
  double mean_length() const {
    double sum = 0;
    for (const Copy& copy : copies) sum += static_cast<double>(copy.length);
    return sum / static_cast<double>(copies.size());
  }
};

std::string as_text(const std::string& bytes) {
  WholeCharacters characters;
  const std::string text = characters.pass(bytes);
  return text + characters.rest();
}

/// Returns texts of the model: those of `generate` without a prompt.
std::vector<std::string> write_texts(const Request& request, const Checkpoint& checkpoint,
                                     Parameters& parameters, Console& console) {
  const Tokenizer& tokenizer = checkpoint.tokenizer;
  TextGenerator generator(checkpoint.config, tokenizer.size(), parameters, checkpoint.state.seed,
                          request.sampling, request.texts, checkpoint.trained_window(),
                          parse_precision(request.precision));
  std::vector<std::string> texts(static_cast<size_t>(request.texts));
  std::vector<int32_t> ids;
  Progress shown(console, "writing ", request.tokens);
  generator.read_prompt(neutral_prompt(tokenizer));
  for (int i = 0; i < request.tokens; ++i) {
    if (i > 0) generator.read(ids);
    const std::span<const int32_t> next = generator.choose();
    ids.assign(next.begin(), next.end());
    for (size_t text = 0; text < texts.size(); ++text) texts[text] += tokenizer.decode(ids[text]);
    shown.update(i);
  }
  std::ranges::transform(texts, texts.begin(), as_text);
  return texts;
}

/// Returns passages from all over a text, as many and as long as the model's texts; none if the
/// text is too short.
std::vector<std::string> passages_of(const Tokens& text, const Request& request,
                                     const Tokenizer& tokenizer) {
  std::vector<std::string> passages;
  if (text.count() < int64_t{request.texts} * request.tokens) return passages;
  for (int64_t i = 0; i < request.texts; ++i) {
    std::string bytes;
    text.read(i * text.count() / request.texts, request.tokens,
              [&](int, int32_t id) { bytes += tokenizer.decode(id); });
    passages.push_back(as_text(bytes));
  }
  return passages;
}

nlohmann::ordered_json to_json(const TextFigures& figures) {
  const auto longest = figures.longest();
  nlohmann::ordered_json copied = {{"mean", figures.mean_length()}, {"longest", longest->length}};
  if (longest->length > 0)
    copied.update({{"text", longest - figures.copies.begin() + 1},
                   {"line", longest->line},
                   {"place", longest->place},
                   {"piece", longest->piece}});
  return {{"words", figures.variety.words},
          {"distinct", figures.variety.distinct},
          {"rep", figures.variety.repeated},
          {"copied", copied}};
}

/// `compared_with`: the text that the pieces were copied from, in words.
void print_table(const TextFigures& model, const std::optional<TextFigures>& validation,
                 const std::string& compared_with, Console& console) {
  const auto cell = [](double value, int digits) {
    return std::isnan(value) ? "-" : fmt::format("{:.{}f}", value, digits);
  };
  TableRows rows = {{"", "model"}};
  if (validation) rows[0].emplace_back("validation text");
  const auto add = [&](std::string name, int digits, auto figure) {
    rows.push_back({std::move(name), cell(figure(model), digits)});
    if (validation) rows.back().push_back(cell(figure(*validation), digits));
  };
  for (size_t n = 1; n <= Variety::kMostWords; ++n)
    add(fmt::format("distinct-{}", n), 4,
        [&](const TextFigures& texts) { return texts.variety.distinct[n - 1]; });
  for (size_t n = 1; n <= Variety::kMostWords; ++n)
    add(fmt::format("rep-{}", n), 4,
        [&](const TextFigures& texts) { return texts.variety.repeated[n - 1]; });
  add("longest copied piece, characters", 0,
      [](const TextFigures& texts) { return static_cast<double>(texts.longest()->length); });
  add("the same, mean of the texts", 1,
      [](const TextFigures& texts) { return texts.mean_length(); });
  console.line("");
  console.line(text_table(std::move(rows), console.status_width()));

  constexpr size_t kShown = 300;  // bytes
  const auto longest = model.longest();
  if (longest->length == 0) return;
  std::string piece = longest->piece.substr(0, kShown);
  piece.resize(piece.size() - unfinished_bytes(piece));
  console.line(fmt::format("copied in text {} from line {} of {}: {}{}",
                           longest - model.copies.begin() + 1, longest->line, compared_with,
                           visible_in_line(nlohmann::json(piece).dump()),
                           piece == longest->piece ? "" : " .."));
}

void evaluate_texts(const Request& request, const Checkpoint& checkpoint, Parameters& parameters,
                    const RunData& data, const std::string& name, Console& console, bool quiet) {
  const Tokenizer& tokenizer = checkpoint.tokenizer;
  const Stopwatch time;
  std::vector<std::string> texts;
  run_with_threads([&] { texts = write_texts(request, checkpoint, parameters, console); });
  const std::vector<std::string> passages = passages_of(data.validation, request, tokenizer);
  if (passages.empty() && !quiet)
    print_warning(fmt::format(
        "the validation text of {} has {} {}, too few for {} passages of {} to compare with; give "
        "fewer --texts or --tokens, or another --data",
        name, data.validation.count(), tokenizer.unit(), request.texts, request.tokens));
  const auto count = static_cast<size_t>(request.texts);
  texts.insert(texts.end(), passages.begin(), passages.end());
  CopyFinder finder(texts);
  const std::string compared_with =
      request.is_of_training() ? "the training text" : "the training part of " + name;
  {
    Progress shown(console, fmt::format("comparing with {} ", compared_with), data.train.count());
    finder.read(data.train, tokenizer, [&](int64_t tokens) { shown.update(tokens); });
  }
  const std::vector<Copy> copies = finder.longest();
  const auto figures = [&](size_t first) {
    return TextFigures(std::span(texts).subspan(first, count),
                       std::span(copies).subspan(first, count));
  };
  const TextFigures model = figures(0);
  const std::optional<TextFigures> validation =
      passages.empty() ? std::nullopt : std::optional(figures(count));

  if (!request.json) {
    console.line(fmt::format("text                {}", name));
    console.line(fmt::format("written             {} texts of {} {}, temperature {}, seed {}",
                             request.texts, request.tokens, tokenizer.unit(),
                             request.sampling.temperature, request.sampling.seed));
    return print_table(model, validation, compared_with, console);
  }
  nlohmann::ordered_json json = {{"checkpoint", text_of_name(checkpoint.folder.string())},
                                 {"step", checkpoint.state.step},
                                 {"data", text_of_name(name)},
                                 {"precision", request.precision},
                                 {"texts", request.texts},
                                 {"tokens", request.tokens}};
  json.update(to_json(request.sampling));
  json["model"] = to_json(model);
  json["validation"] = validation ? to_json(*validation) : nlohmann::ordered_json();
  json["seconds"] = time.seconds();
  print(stdout, json.dump(2) + "\n");
}

/// " (the run: bf16)", or "".
std::string trained_in_another(const Request& request, const Checkpoint& checkpoint) {
  const auto& progress = checkpoint.state.progress;
  return progress && progress->options.precision != request.precision
             ? fmt::format(" (the run: {})", progress->options.precision)
             : "";
}

/// Replaces precisions that cannot be had here, and says so. Throws a UsageError if that leaves a
/// comparison of a precision with itself that nobody asked for.
void choose_precisions(Request& request, bool quiet) {
  const bool differ = request.against != request.precision;
  std::string said;
  for (std::string* precision : {&request.precision, &request.against}) {
    if (precision->empty()) continue;
    const std::string line = fall_back(*precision);
    if (!line.empty() && line != said && !quiet) print_warning(line);
    said = line;
  }
  if (differ && request.against == request.precision)
    fail_usage("--against: both would be computed in {} here, and be the same", request.precision);
}

void evaluate(Request& request, bool quiet) {
  if (request.texts > 1 && request.sampling.is_greedy())
    fail_usage(
        "--texts {}: greedy texts are all the same; give a --temperature above 0, or --texts 1",
        request.texts);
  choose_precisions(request, quiet);
  const Checkpoint checkpoint(request.checkpoint);
  Parameters parameters(checkpoint.config, Parameters::Arrays::kWeights);
  checkpoint.read_weights(parameters, parse_precision(request.precision));

  const TrainOptions source = source_of(request, checkpoint);
  const RunData data = load_data(source, checkpoint.tokenizer);
  Console console(quiet || request.json);
  describe_texts(request, checkpoint, source, data, console, quiet);
  console.line(describe_machine(start_threads()));
  console.line(fmt::format("checkpoint          {} (step {})", checkpoint.folder.string(),
                           checkpoint.state.step));
  console.line(fmt::format("precision           {}{}", request.precision,
                           trained_in_another(request, checkpoint)));
  if (request.texts > 0)
    evaluate_texts(request, checkpoint, parameters, data, source.data, console, quiet);
  else
    evaluate_loss(request, checkpoint, parameters, data, source.data, console);
}

}  // namespace

int main(int argc, char** argv) {
  Program program("evaluate", "Measures a model on a text, or the texts that it writes.",
                  "evaluate --checkpoint checkpoints/book --data book.txt");
  Request request;
  CLI::App& app = program.app();
  app.add_option("--checkpoint", request.checkpoint,
                 "a checkpoint's folder, or a run's: then its best model")
      ->required();
  app.add_option(
      "--data", request.data,
      "as of train: sample, a text file, or a folder (default: what the model was trained on)");
  CLI::Option* part_option =
      app.add_option("--part", request.part, "of the text: validation, train, or all")
          ->check(one_of({"validation", "train", "all"}));
  app.add_option("--val-split", request.validation_split,
                 "as of train, for a text file (default: as when the model was trained)");
  CLI::Option* sequence_option =
      number(app, "--seq", request.sequence,
             "tokens a window (default: as in the validations of the training)", {.at_least = 1})
          ->default_str("");
  CLI::Option* stream_option = app.add_flag(
      "--stream", request.stream,
      "carry the state through the whole text, in place of windows that each start afresh");
  CLI::Option* texts_option =
      number(
          app, "--texts", request.texts,
          "let the model write so many texts, as 'generate --samples' does, and measure in place "
          "of the loss how varied they are, and what they have copied from the training text",
          {.at_least = 1, .at_most = 65536})
          ->default_str("")
          ->excludes(part_option, sequence_option, stream_option);
  number(app, "--tokens", request.tokens, "tokens of such a text", {.at_least = 1})
      ->needs(texts_option);
  for (CLI::Option* option : add_options(app, sampling_options(), request.sampling))
    option->needs(texts_option);
  precision(app, request.precision);
  precision(app, request.against, "--against",
            "also compare the predictions with those of the model in this precision")
      ->default_str("")
      ->excludes(texts_option);
  app.add_flag("--json", request.json, "print the figures as JSON");

  return program.run(argc, argv, [&] {
    request.sequence_is_given = sequence_option->count() > 0;
    request.sampling.seed = program.seed();
    evaluate(request, program.quiet());
  });
}
