#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/threads.h"
#include "support/atomic_file.h"
#include "support/console.h"
#include "support/error.h"
#include "support/names.h"
#include "support/stop_signals.h"
#include "support/stopwatch.h"
#include "train/data/file_kind.h"
#include "train/data/tokenizer.h"
#include "train/infer/sampling_json.h"
#include "train/infer/stop_strings.h"
#include "train/infer/text_generator.h"
#include "train/infer/text_state.h"
#include "train/infer/whole_characters.h"
#include "train/programs/command_line.h"
#include "train/run/checkpoint.h"
#include "train/run/folder.h"
#include "train/run/precision.h"

namespace {

using namespace mmrec;

/// The command line.
struct Request {
  std::string checkpoint, prompt;
  bool prompt_is_given = false;
  int64_t tokens = 500;
  int samples = 1;
  bool escapes = false, interactive = false, json = false;
  std::vector<std::string> stops;
  std::string state;  ///< file of the text's state, or ""
  std::string precision = "float32";
  Sampling sampling;
};

/// Replaces \n, \t and \\ by what they stand for. Throws a UsageError for another character
/// after a backslash.
std::string unescaped(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      result += text[i];
      continue;
    }
    const char next = ++i < text.size() ? text[i] : '\0';
    if (next != 'n' && next != 't' && next != '\\')
      fail_usage("--escapes: there are \\n, \\t and \\\\, but no backslash before '{}'",
                 next ? std::string(1, next) : "the end");
    result += next == 'n' ? '\n' : next == 't' ? '\t' : '\\';
  }
  return result;
}

/// Returns the ids of a text to continue, `name` in messages.
std::vector<int32_t> known_ids(const std::string& text, const Tokenizer& tokenizer,
                               const char* name, const Request& request, bool quiet) {
  const std::vector<int32_t> ids = tokenizer.encode(text, name);
  CharacterCounts counts;
  count_characters(text, name, counts);
  const std::string unknown = describe_unknown(tokenizer, counts);
  if (std::ranges::count(ids, Tokenizer::kUnknown) == std::ssize(ids))
    fail("{}: the model knows none of it: {}", name, unknown);
  const bool has_escapes = !request.escapes && !tokenizer.knows('\\') &&
                           (text.find("\\n") != text.npos || text.find("\\t") != text.npos);
  if (!unknown.empty() && !quiet)
    print_warning(fmt::format("{}: {}{}", name, unknown,
                              has_escapes ? "; --escapes reads \\n as a newline" : ""));
  return ids;
}

/// Returns the prompt's ids. Fills in the prompt's text, from standard input for "-".
std::vector<int32_t> prompt_ids(Request& request, const Tokenizer& tokenizer, bool quiet) {
  std::string& prompt = request.prompt;
  if (prompt == "-") {
    if (::isatty(STDIN_FILENO))
      print(stderr, "type the text to continue; Ctrl-D on a line of its own ends it\n");
    prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
    if (prompt.starts_with(kByteOrderMark)) prompt.erase(0, kByteOrderMark.size());
  }
  if (request.escapes) prompt = unescaped(prompt);
  if (request.prompt_is_given) {
    if (prompt.empty()) fail_usage("--prompt: there must be at least one character to continue");
    return known_ids(prompt, tokenizer, "--prompt", request, quiet);
  }
  const std::vector<int32_t> ids = neutral_prompt(tokenizer);
  if (ids.front() != Tokenizer::kUnknown) prompt = tokenizer.decode(ids);
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
                const std::vector<std::string>& texts, int64_t generated, double seconds) {
  nlohmann::ordered_json result = {{"checkpoint", text_of_name(checkpoint.folder.string())},
                                   {"prompt", request.prompt},
                                   {"precision", request.precision},
                                   {"texts", texts},
                                   {"tokens", request.tokens}};
  result.update(to_json(request.sampling));
  result.update({{"stop", request.stops},
                 {"seconds", seconds},
                 {"tokens_per_second", static_cast<double>(generated) / seconds}});
  print(stdout, result.dump(2) + "\n");
}

/// What continue_texts() has done.
struct Continued {
  int64_t tokens = 0;                ///< of all samples together
  std::vector<int32_t> unread = {};  ///< the first sample's last token, which no model has read yet
  std::string unshown = {};          ///< of a text that goes on elsewhere, see TextState
  bool was_stopped = false;          ///< by a signal
};

/// How continue_texts() begins and ends.
struct Course {
  std::string unshown = {};                      ///< of the text before, see TextState
  bool goes_on = false;                          ///< elsewhere: a character may stay unfinished
  const std::atomic<int>* stop_asked = nullptr;  ///< not 0: ends early
};

/// Adds text to each sample until it has its tokens or a stop. show(sample, text) gets it piece by
/// piece.
template <class Show>
Continued continue_texts(const Request& request, const Tokenizer& tokenizer,
                         TextGenerator& generator, const Course& course, Show show) {
  std::vector<StopStrings> stops(request.samples, StopStrings(request.stops));
  std::vector<WholeCharacters> characters(request.samples);
  characters[0].pass(course.unshown);
  const auto all_ended = [&] {
    return std::ranges::all_of(stops, &StopStrings::found) ||
           (course.stop_asked && *course.stop_asked != 0);
  };
  Continued result;
  std::vector<int32_t> chosen;
  for (int64_t i = 0; i < request.tokens && !all_ended() && !std::ferror(stdout); ++i) {
    if (i > 0) generator.read(chosen);
    const std::span<const int32_t> next = generator.choose();
    chosen.assign(next.begin(), next.end());
    for (int b = 0; b < request.samples; ++b) {
      result.tokens += !stops[b].found();
      show(b, stops[b].pass(characters[b].pass(tokenizer.decode(chosen[b]))));
    }
  }
  if (course.goes_on) result.unshown = characters[0].take();
  for (int b = 0; b < request.samples; ++b)
    show(b, stops[b].pass(characters[b].rest()) + stops[b].rest());
  if (!chosen.empty()) result.unread = {chosen[0]};
  result.was_stopped = course.stop_asked && *course.stop_asked != 0;
  return result;
}

/// Reads what comes next. Returns the state without its last token, which is the text's where a
/// signal comes before another one: the next call has a token to go on from.
TextState read_text(TextGenerator& generator, std::span<const int32_t> ids) {
  generator.advance(ids.first(ids.size() - 1));
  TextState before_last = generator.state();
  before_last.unread = {ids.back()};
  generator.read_prompt(ids.last(1));
  return before_last;
}

/// Reads a line, lets the model go on, and again, until the input ends. A line that cannot be read
/// is told and left out. unread: what comes before the first line. save(before_last, continued) is
/// called after each turn. Returns the signal that has ended a turn of a request with --state, or
/// 0.
template <class Save>
int converse(const Request& request, const Tokenizer& tokenizer, TextGenerator& generator,
             std::vector<int32_t> unread, bool quiet, Save save) {
  const bool asks = ::isatty(STDIN_FILENO) == 1;
  Display display;
  std::string line;
  for (;;) {
    if (asks) print(stdout, "> ");
    if (!std::getline(std::cin, line)) break;
    if (line.ends_with('\r')) line.pop_back();
    std::vector<int32_t> ids = unread;
    try {
      const std::string text = (request.escapes ? unescaped(line) : line) + "\n";
      const std::vector<int32_t> of_line = known_ids(text, tokenizer, "input", request, quiet);
      ids.insert(ids.end(), of_line.begin(), of_line.end());
    } catch (const Error& error) {
      print_warning(error.what());
      continue;
    }
    std::optional<StopSignals> signals;  // not while it waits for a line
    if (!request.state.empty()) signals.emplace(false);
    const TextState before_last = read_text(generator, ids);
    const Continued continued = continue_texts(
        request, tokenizer, generator, {.stop_asked = signals ? &signals->asked() : nullptr},
        [&](int, std::string_view text) { display.show(text); });
    display.show("\n");
    save(before_last, continued);
    unread = continued.unread;
    if (signals && signals->received() != 0) return signals->received();
  }
  if (asks) print(stdout, "\n");
  return 0;
}

/// Takes the newest run if no checkpoint is named. Throws a UsageError if there is none.
void choose_checkpoint(Request& request, bool quiet) {
  if (!request.checkpoint.empty()) return;
  request.checkpoint = newest_run(kRuns).string();
  if (request.checkpoint.empty())
    fail_usage(
        "--checkpoint is missing, and there is no run in {}/: name a checkpoint's folder, "
        "or a run's",
        kRuns);
  if (!quiet)
    print(stderr, fmt::format("--checkpoint {}: the run in {}/ that trained last\n",
                              visible(shell_quoted(request.checkpoint)), kRuns));
}

/// Says what the program computes in, unless that is float32 by default.
void choose_precision(Request& request, bool quiet) {
  const bool is_default = request.precision == Request().precision;
  const std::string line = fall_back(request.precision);
  if (quiet || is_default) return;
  if (line.empty())
    print(stderr, fmt::format("computing in {}\n", request.precision));
  else
    print_warning(line);
}

/// Throws a UsageError for options that contradict each other.
void check(const Request& request) {
  if (request.samples > 1 && request.sampling.is_greedy())
    fail_usage(
        "--samples {}: greedy texts are all the same; give a --temperature above 0 or leave "
        "--samples out",
        request.samples);
  if (request.samples > 1 && (request.interactive || !request.state.empty()))
    fail_usage("--samples {}: --interactive and --state are for a single text", request.samples);
  if (request.interactive && (request.prompt_is_given || request.json))
    fail_usage("--interactive reads what to continue line by line; leave out --prompt and --json");
  for (const std::string& stop : request.stops) check_utf8(stop, "--stop");
  StopStrings{request.stops};
}

/// Returns the signal that has stopped it, or 0.
int generate(Request& request, bool quiet) {
  check(request);
  choose_checkpoint(request, quiet);
  choose_precision(request, quiet);
  const int samples = request.samples;
  const Checkpoint checkpoint(request.checkpoint);
  const Tokenizer& tokenizer = checkpoint.tokenizer;
  Parameters parameters(checkpoint.config, Parameters::Arrays::kWeights);
  checkpoint.read_weights(parameters, parse_precision(request.precision));
  TextGenerator generator(checkpoint.config, tokenizer.size(), parameters, checkpoint.state.seed,
                          request.sampling, samples, checkpoint.trained_window(),
                          parse_precision(request.precision));
  std::vector<int32_t> ids;  // to read first
  Course course;
  if (!request.state.empty()) {
    check_writable(request.state);
    course.goes_on = true;
    if (std::filesystem::exists(request.state)) {
      const TextState state = load_text_state(request.state, checkpoint.describe_weights());
      generator.go_on(state);
      ids = state.unread;
      course.unshown = state.unshown;
    }
  }
  const auto save = [&](const TextState& before_last, const Continued& continued) {
    if (request.state.empty()) return;
    TextState state = before_last;
    if (!continued.unread.empty() || !continued.was_stopped) {
      state = generator.state();
      state.unread = continued.unread;
    }
    state.unshown = continued.unshown;
    save_text_state(request.state, state, checkpoint.describe_weights());
  };
  if (request.interactive) {
    if (request.stops.empty()) request.stops = {"\n\n"};
    return converse(request, tokenizer, generator, std::move(ids), quiet, save);
  }

  if (ids.empty() || request.prompt_is_given) {
    const std::vector<int32_t> prompt = prompt_ids(request, tokenizer, quiet);
    ids.insert(ids.end(), prompt.begin(), prompt.end());
  }
  if (request.prompt_is_given) course.unshown.clear();
  std::optional<StopSignals> signals;  // else they end it
  if (!request.state.empty()) course.stop_asked = &signals.emplace(false).asked();
  const bool streams = samples == 1 && !request.json;
  Display display;
  const Stopwatch time;
  const TextState before_last = read_text(generator, ids);
  if (streams) display.show(request.prompt);
  std::vector<std::string> texts(samples);
  Continued continued;
  std::exception_ptr problem;  // what there is of the texts is shown before it, but not as JSON
  try {
    continued =
        continue_texts(request, tokenizer, generator, course, [&](int b, std::string_view text) {
          if (streams)
            display.show(text);
          else
            texts[b] += text;
        });
    save(before_last, continued);
  } catch (const Error&) {
    problem = std::current_exception();
  }

  if (problem && request.json) std::rethrow_exception(problem);
  if (streams)
    display.show("\n");
  else if (request.json)
    print_json(request, checkpoint, texts, continued.tokens, time.seconds());
  else
    for (int b = 0; b < samples; ++b)
      display.show(fmt::format("{}--- sample {} of {} ---\n{}{}\n", b > 0 ? "\n" : "", b + 1,
                               samples, request.prompt, texts[b]));
  if (problem) std::rethrow_exception(problem);
  return signals ? signals->received() : 0;
}

}  // namespace

int main(int argc, char** argv) {
  Program program("generate", "Continues a text with a trained model.",
                  "generate --checkpoint checkpoints/tiny --prompt \"KING:\" --tokens 500");
  Request request;
  CLI::App& app = program.app();
  app.add_option("--checkpoint", request.checkpoint,
                 "a checkpoint's folder, or a run's: then its best model (default: the run in "
                 "checkpoints/ that trained last)");
  const CLI::Option* prompt_option =
      app.add_option(
             "--prompt", request.prompt,
             "the text to continue; - reads it from standard input (default: a text begins)")
          ->default_str("");
  number(app, "--tokens", request.tokens, "tokens to generate", {.at_least = 0});
  number(app, "--samples", request.samples, "continuations, made side by side",
         {.at_least = 1, .at_most = 65536});
  add_options(app, sampling_options(), request.sampling);
  app.add_option(
         "--stop", request.stops,
         "end before this text; may be repeated (default with --interactive: an empty line)")
      ->allow_extra_args(false);
  app.add_flag(
      "--escapes", request.escapes,
      "\\n, \\t and \\\\ in what is to be continued, and in --stop, stand for a newline, a "
      "tabulator and a backslash");
  app.add_flag("--interactive", request.interactive,
               "read a line, let the model go on, and again; the model remembers what came before");
  app.add_option(
      "--state", request.state,
      "a file: if it is there, its text is continued; what the model remembers at the end "
      "is saved in it");
  precision(app, request.precision);
  app.add_flag("--json", request.json, "print texts and settings as JSON, at the end");

  int signal = 0;
  const int code = program.run(argc, argv, [&] {
    request.sampling.seed = program.seed();
    request.prompt_is_given = prompt_option->count() > 0;
    if (request.escapes) std::ranges::transform(request.stops, request.stops.begin(), unescaped);
    run_with_threads([&] { signal = generate(request, program.quiet()); });
  });
  return code == 0 && signal != 0 ? 128 + signal : code;
}
