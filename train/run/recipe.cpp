#include "train/run/recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>
#include <tuple>
#include <utility>

#include "support/counted.h"
#include "support/error.h"
#include "support/parse_number.h"
#include "support/same_bits_math.h"
#include "train/data/windows.h"
#include "train/run/phases.h"

namespace mmrec {

namespace {

/// Pieces that tiny trains on at most in a short run.
constexpr double kFewPieces = 2.5e6;

/// What a run is chosen for.
struct Length {
  double text;             ///< tokens of the text that is trained on
  double tokens;           ///< that the run trains on
  bool of_pieces = false;  ///< which the tokens are
  double token_time = 1;   ///< of the run's model, in that of tiny
  double epochs() const { return tokens / text; }
  /// Tokens that tiny would train on in the same time.
  double of_tiny() const { return tokens * token_time; }
  bool is_of_few_pieces() const { return of_pieces && of_tiny() < kFewPieces; }
  /// Whether it is short, and with tiny would see each passage once at most.
  bool is_a_glance() const { return is_of_few_pieces() && of_tiny() < text; }
};

/// Sets an option unless somebody gave it.
template <class Value, class Chosen>
void choose(const TrainOptions& options, const char* name, Value& value, const Chosen& chosen) {
  if (!options.given.contains(name)) value = static_cast<Value>(chosen);
}

/// Of a text of less than 100,000 tokens more than six times makes the loss on other texts worse at
/// the end than before, with any dropout.
constexpr double kFewTimes = 6;
constexpr int64_t kFewSteps = 50;
/// Times through the text from which on dropout helps.
constexpr double kManyTimes = 5;
/// The size that ends best where tiny would train in the time on so many tokens and more, less
/// often than so many times through the text. With few layers it is of pieces.
struct Size {
  double tokens, times;
  int dim, layers;
};
constexpr double kAnyTimes = INFINITY;
constexpr Size kSizes[] = {{0, 1, 128, 1},
                           {kFewPieces, kManyTimes, 192, 1},
                           {9e6, kManyTimes, 192, 2},
                           {1.2e7, kAnyTimes, 192, 4},
                           {4.5e7, kAnyTimes, 256, 6}};
/// Tokens of a text for which these are not too large, and how often they may go through it.
constexpr double kLongText = 5e5, kTimesOfOthers = 10;

/// Twice through a text of characters and four times through one of pieces, which are fewer; more
/// often through a short text, and no hours for a long one.
double default_tokens(double text, TokenKind kind) {
  const double times = kind == TokenKind::kPiece ? 4 : 2;
  return std::clamp(times * text, std::min(kFewTimes * text, 1e6), 1e7);
}

/// Times through a text after which tiny has learned its own words by heart.
double most_times(double text) { return std::clamp(text / 1.2e4, kFewTimes, 30.); }

double tokens_of(const TrainOptions& o, int64_t steps) {
  return static_cast<double>(steps) * o.batch * o.accumulate * o.sequence;
}

int64_t steps_of(const TrainOptions& o, double tokens) {
  return std::max<int64_t>(std::llround(tokens / tokens_of(o, 1)), 1);
}

/// Returns the steps of one time through the text. Throws a UsageError if it does not fill one.
int steps_per_epoch(const TrainOptions& o, const Tokens& text) {
  const WindowSet windows(text, o.sequence, "the training text");
  return BatchOrder(windows.count(), o.batch * o.accumulate, o.seed, o.carry).steps_per_epoch();
}

/// Leaves out the last steps if they only begin another epoch.
int64_t whole_epochs(int64_t steps, int64_t epoch) {
  constexpr double kBegun = 0.05;  // of an epoch
  const int64_t begun = steps % epoch;
  return begun < steps && static_cast<double>(begun) < kBegun * static_cast<double>(epoch)
             ? steps - begun
             : steps;
}

/// A step of 1024 or 1536 tokens, more steps where there are few tokens. Where the text is what
/// there is little of, and not the time, smaller steps make more of it.
void choose_batch(TrainOptions& o, const Length& length) {
  const bool is_short = length.tokens < 6e5 && length.epochs() >= kManyTimes;
  const double a_step = is_short ? 384 : length.tokens < 1.5e6 ? 1024 : 1536;
  // Where it is the other way round, more and shorter windows have more of a text's variety.
  const double window = length.is_a_glance() ? 64 : 128;
  choose(o, "seq", o.sequence,
         std::max(1., std::min({window, 1. * o.config.max_seq, length.text - 1})));
  const double windows = std::floor((length.text - 1) / o.sequence / o.carry) * o.carry;
  choose(o, "batch", o.batch,
         std::clamp(a_step / o.sequence / o.accumulate, 1.,
                    std::max(1., std::floor(windows / o.accumulate))));
}

/// What was given as --steps, --epochs or --grow, as tokens; nullopt: nothing.
std::optional<double> given_tokens(const TrainOptions& o, double text) {
  if (!o.grow.empty()) return tokens_of(o, parse_phases(o.grow).back().end);
  if (o.given.contains("steps")) return tokens_of(o, o.steps);
  if (o.given.contains("epochs")) return o.epochs * text;
  return std::nullopt;
}

/// None below five times through the text; of a short text more than of a long one, whose own words
/// are harder to learn by heart.
double dropout_of(const Length& length) {
  const bool is_short = length.text < 2e5;
  if (length.epochs() < kManyTimes) return 0;
  if (is_short) return length.epochs() < 10 ? 0.05 : 0.2;
  return length.epochs() < 20 ? 0.025 : 0.05;
}

void choose_rates(TrainOptions& o, const Length& length) {
  OptimizerSettings& optimizer = o.optimizer;
  // Longer runs of characters want smaller rates, all want more decay: from 1.5 to 10 million
  // tokens.
  const double longer = std::clamp(length.tokens / 1.536e6, 1., 6.5);
  optimizer.algorithm = optimizer_of(o);
  // A piece's row of the embedding is used less often than a character's; beside Muon the rate is
  // for that and little else.
  const double for_tiny = length.of_pieces && optimizer.algorithm == "muon" ? 1.2e-2 : 6e-3;
  // Weights that have been trained are to be kept.
  const double trained = o.init.empty() ? 1 : 1. / 6,
               rate = for_tiny * std::sqrt(std::min(1., 128. / o.config.dim)) * trained,
               muon_rate =
                   (length.of_pieces ? 6e-3 : 9e-3 * same_bits::power(longer, -0.217)) * trained;
  choose(o, "lr", optimizer.learning_rate, rate);
  choose(o, "lr-min", o.minimum_rate, "0.02x");
  choose(o, "beta2", optimizer.beta2, 0.99);
  choose(o, "average", optimizer.average, 0.99);
  // in proportion to an --lr that was given, so that one option makes the run more careful
  choose(o, "muon-lr", optimizer.muon_learning_rate, muon_rate * optimizer.learning_rate / rate);
  // In a short run more steps are worth more than all matrices in each.
  choose(o, "muon-every", optimizer.muon_every, length.is_of_few_pieces() ? 2 : 1);
  choose(o, "muon-decay", optimizer.muon_decay, 0.11 * same_bits::power(longer, 0.32));
  choose(o, "dropout", o.dropout, dropout_of(length));
}

/// Chooses all but the number of steps.
void choose_for(TrainOptions& o, const Length& length) {
  choose_batch(o, length);
  choose_rates(o, length);
}

/// The same for what was given, or else for the recipe's length; returns it. Steps that were given
/// are counted in those of a short run until the batch is chosen.
Length choose_for_given(TrainOptions& o, double text, TokenKind kind) {
  Length length{text, 0, kind == TokenKind::kPiece};
  TrainOptions of_short_run = o;
  choose_batch(of_short_run, length);
  length.tokens = given_tokens(of_short_run, text).value_or(default_tokens(text, kind));
  choose_batch(o, length);
  length.tokens = given_tokens(o, text).value_or(length.tokens);
  choose_rates(o, length);
  return length;
}

/// Takes another model than tiny where the time makes it better and nobody gave the size. Returns
/// whether it did.
bool choose_size(TrainOptions& o, const Length& of_tiny) {
  if (o.given.contains(kSize) || !o.grow.empty() || !o.init.empty() || of_tiny.text < kLongText)
    return false;
  const Size* chosen = nullptr;
  for (const Size& size : kSizes)
    if (of_tiny.tokens >= size.tokens && of_tiny.epochs() < size.times &&
        (of_tiny.of_pieces || size.times == kAnyTimes))
      chosen = &size;
  if (!chosen) return false;
  o.config.dim = chosen->dim;
  o.config.layers = chosen->layers;
  return true;
}

/// A run's length, and what made it so.
struct Fitted {
  Length length;
  std::string size = {};    ///< in words, where a time made it another than was asked for
  bool ends_early = false;  ///< before its time
};

/// Turns the time into steps. With the recipe it chooses the size by what fits, and the rest by the
/// length that comes of it.
Fitted fit_time(TrainOptions& o, const Length& length, const StepsWithin& steps_within) {
  Fitted fitted{.length = length};
  const double seconds = parse_duration(o.time), text = length.text;
  double tokens_in_time = 0;
  const auto fit = [&] {
    o.steps = steps_within(seconds, o);
    tokens_in_time = tokens_of(o, o.steps);
    const int64_t most =
        steps_of(o, (fitted.size.empty() ? most_times(text) : kTimesOfOthers) * text);
    fitted.ends_early = has_recipe(o) && o.steps > most;
    if (fitted.ends_early) o.steps = most;
    fitted.length.tokens = tokens_of(o, o.steps);
  };
  fit();
  if (!has_recipe(o)) return fitted;
  Length of_tiny = fitted.length;
  of_tiny.tokens = tokens_in_time;
  if (choose_size(o, of_tiny)) {
    fitted.size = fmt::format("{} {} of {}, ", o.config.layers,
                              o.config.layers == 1 ? "layer" : "layers", o.config.dim);
    choose_for(o, of_tiny);
    fit();
    fitted.length.token_time = of_tiny.tokens / tokens_in_time;
  }
  const auto step = [&] { return std::tuple(o.batch, o.sequence, o.optimizer.muon_every); };
  const auto timed = step();
  choose_for(o, fitted.length);
  if (step() != timed) fit();
  return fitted;
}

/// Says why a run for a time has few steps, or ends before it. before: seconds that the command
/// took until the text was read.
std::string about_time(const TrainOptions& o, int64_t steps, bool ends_early, double before) {
  if (ends_early)
    return fmt::format(
        "; it ends before {}, because going on through the same text would make the model worse",
        o.time);
  if (steps >= kFewSteps || o.time.empty()) return "";
  return fmt::format("; no more fit into {}{}: a model needs hundreds, give it more time", o.time,
                     before > parse_duration(o.time) / 4
                         ? fmt::format(", of which the text took {:.0f} s", before)
                         : "");
}

std::string described(const TrainOptions& o, const Fitted& fitted, const Tokenizer& tokenizer,
                      int64_t steps, double before) {
  const OptimizerSettings& optimizer = o.optimizer;
  const std::string dropout =
      o.dropout > 0 ? fmt::format("dropout {:.2g}", o.dropout) : "no dropout";
  return fmt::format(
      "recipe: {}{} of {} x {}{}, {:.1f} times through the text; tokens: {} of {}; {}, lr "
      "{:.2g}{}; {}; {} (--recipe documented, or an option, for others){}",
      fitted.size, counted(steps, "step"), o.batch * o.accumulate, o.sequence,
      o.precision == "bf16" ? " in bf16" : "", fitted.length.epochs(), tokenizer.size(),
      name_of(tokenizer.kind()), optimizer.algorithm, optimizer.learning_rate,
      optimizer.algorithm == "muon" ? fmt::format(" and {:.2g}", optimizer.muon_learning_rate) : "",
      dropout,
      o.eval_every > 0
          ? "a validation every " + (o.eval_every == 1 ? "step" : counted(o.eval_every, "step"))
          : "one validation an epoch",
      about_time(o, steps, fitted.ends_early, before));
}

}  // namespace

int validation_count(double tokens) {
  // 10,000 tokens, without the backward pass
  constexpr double kCost = 3300, kShare = 0.05;
  return static_cast<int>(std::clamp(tokens * kShare / kCost, 2., 20.));
}

void choose_intervals(TrainOptions& o, int64_t steps) {
  const int64_t interval = std::max<int64_t>(steps / validation_count(tokens_of(o, steps)), 1);
  choose(o, "eval-every", o.eval_every, interval);
  choose(o, "save-every", o.save_every, std::max<int64_t>(interval, 50));
  choose(o, "patience", o.patience, 0);
}

bool recipe_chooses(std::string_view option) {
  constexpr std::string_view kChosen[] = {"steps",      "batch",      "seq",     "optimizer",
                                          "lr",         "lr-min",     "beta2",   "muon-lr",
                                          "muon-decay", "muon-every", "average", "eval-every",
                                          "save-every", "dropout",    "patience"};
  return std::ranges::find(kChosen, option) != std::end(kChosen);
}

bool has_recipe(const TrainOptions& options) {
  if (options.recipe == "auto") return options.data != "sample";
  return options.recipe == "text";
}

std::string optimizer_of(const TrainOptions& options) {
  return has_recipe(options) && !options.given.contains("optimizer") ? "muon"
                                                                     : options.optimizer.algorithm;
}

void check_recipe(std::string_view name) {
  if (name != "auto" && name != "documented" && name != "text")
    fail_usage("there is no recipe '{}'; there are auto, documented and text", name);
}

Config recipe_config() {
  Config config;
  config.gates = "spread";
  return config;
}

TokenChoice tokens_of_run(const TrainOptions& options, int64_t bytes) {
  if (options.tokenizer != "auto") return {parse_token_kind(options.tokenizer), options.vocabulary};
  if (!has_recipe(options)) return {TokenKind::kCharacter, options.vocabulary};
  return choose_tokens(bytes, options.vocabulary);
}

void choose_precision(TrainOptions& options, bool has_bf16) {
  if (has_recipe(options) && !options.time.empty() && has_bf16)
    choose(options, "precision", options.precision, "bf16");
}

std::string apply_recipe(TrainOptions& options, const RunData& data,
                         const StepsWithin& steps_within) {
  const bool chooses = has_recipe(options);
  const double before = options.since_start.seconds();
  if (!chooses && options.time.empty()) return "";
  const double text = static_cast<double>(std::max<int64_t>(data.train.count(), 2));
  Fitted fitted{.length = {text, 0}};
  if (chooses) fitted.length = choose_for_given(options, text, data.tokenizer.kind());
  if (!options.time.empty()) {
    fitted = fit_time(options, fitted.length, steps_within);
  } else if (!options.given.contains("steps") && !options.given.contains("epochs") &&
             options.grow.empty()) {
    options.steps =
        whole_epochs(steps_of(options, fitted.length.tokens), steps_per_epoch(options, data.train));
    fitted.length.tokens = tokens_of(options, options.steps);
  }
  if (!chooses) return fmt::format("time: {} in {}", counted(options.steps, "step"), options.time);
  const int64_t steps = options.grow.empty()
                            ? total_steps(options, steps_per_epoch(options, data.train))
                            : parse_phases(options.grow).back().end;
  choose_intervals(options, steps);
  return described(options, fitted, data.tokenizer, steps, before);
}

double parse_duration(const std::string& text) {
  double seconds = 0;
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find_first_not_of("0123456789."), rest.size());
    const std::optional<double> number = parse_number<double>(rest.substr(0, end));
    const char unit = end < rest.size() ? rest[end] : 's';
    const double factor = unit == 's' ? 1 : unit == 'm' ? 60 : unit == 'h' ? 3600 : 0;
    const bool lacks_unit = end == rest.size() && rest.size() < text.size();  // 1h30: of what?
    if (!number || factor == 0 || lacks_unit) {
      seconds = 0;
      break;
    }
    seconds += *number * factor;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  constexpr double kLongest = 1e9;
  if (!(seconds > 0 && seconds < kLongest))
    fail_usage("--time {}: give a time such as 90s, 5m or 1h30m", text);
  return seconds;
}

}  // namespace mmrec
