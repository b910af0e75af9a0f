#include "train/programs/command_line.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <optional>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "runtime/kernel_registry.h"
#include "runtime/threads.h"
#include "support/atomic_file.h"
#include "support/child_process.h"
#include "support/console.h"
#include "support/did_you_mean.h"
#include "support/error.h"
#include "support/exceptions.h"
#include "support/memory_reserve.h"
#include "support/names.h"
#include "support/parse_number.h"
#include "support/version.h"
#include "train/programs/other_names.h"

namespace mmrec {
namespace {

enum ExitCode { kSuccess = 0, kFailed = 1, kWrongUse = 2, kNobodyReads = 128 + SIGPIPE };

int report(ExitCode code, std::string_view message) {
  std::fflush(stdout);
  print(stderr, fmt::format("error: {}\n", visible(message)));
  return code;
}

/// Returns whether standard output is a pipe without a reader.
bool nobody_reads() {
  pollfd output{STDOUT_FILENO, 0, 0};
  return ::poll(&output, 1, 0) == 1 && (output.revents & POLLERR) != 0;
}

/// Returns the program and the given subcommand.
std::vector<CLI::App*> parts(CLI::App& app) {
  std::vector<CLI::App*> apps = app.get_subcommands();
  apps.push_back(&app);
  return apps;
}

/// CLI11 splits arguments such as "[a,b]". A character after the closing bracket prevents that. NUL
/// cannot occur in an argument.
constexpr char kWhole = '\0';

std::string without_marks(std::string text) {
  std::erase(text, kWhole);
  return text;
}

/// Returns the arguments in reverse order, as CLI11 expects, with these marks.
std::vector<std::string> marked_arguments(int argc, const char* const* argv) {
  std::vector<std::string> words;
  for (int i = argc - 1; i > 0; --i) {
    words.emplace_back(argv[i]);
    if (words.back().ends_with(']')) words.back() += kWhole;
  }
  return words;
}

void take_marks_off(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) option->transform(without_marks);
  for (CLI::App* subcommand : app.get_subcommands([](CLI::App*) { return true; }))
    take_marks_off(*subcommand);
}

/// Returns the long option names of the program and the given subcommand.
std::vector<std::string> option_names(CLI::App& app) {
  std::vector<std::string> names;
  for (CLI::App* part : parts(app))
    for (const CLI::Option* option : part->get_options())
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

std::vector<std::string> subcommand_names(CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* subcommand : app.get_subcommands([](CLI::App*) { return true; }))
    names.push_back(subcommand->get_name());
  return names;
}

/// For a text or a checkpoint that was named without its option: "; did you mean --data book.txt?".
std::string with_its_option(const CLI::App& app, std::string_view argument) {
  for (const char* name : {"--checkpoint", "--input-file", "--data"})
    if (const CLI::Option* option = app.get_option_no_throw(name); option && option->count() == 0)
      return fmt::format("; did you mean {} {}?", name, argument);
  return "";
}

/// Returns the message for an argument that no option or subcommand took.
std::string describe_unknown(CLI::App& app, std::string_view argument) {
  const bool is_option = argument.starts_with('-');
  if (!is_option && subcommand_names(app).empty())
    return fmt::format("unexpected argument {}{}", argument, with_its_option(app, argument));
  const std::string_view name = argument.substr(0, argument.find('='));
  const std::vector<std::string> candidates = is_option ? option_names(app) : subcommand_names(app);
  const auto has = [&](const std::string& option) {
    return std::ranges::count(candidates, option) > 0;
  };
  if (const std::string known = is_option ? option_known_as(name, has) : ""; !known.empty())
    return fmt::format("unknown option {}; did you mean {}?", name, known);
  return fmt::format("{} {}{}", is_option ? "unknown option" : "unexpected argument", name,
                     did_you_mean(name, candidates));
}

/// Returns why the --options file cannot be read, or "".
std::string describe_unreadable_options(CLI::App& app) {
  const CLI::Option* option = app.get_config_ptr();
  try {
    read_file(option->as<std::string>());
    return "";
  } catch (const Error& error) {
    return fmt::format("{}: {}", option->get_name(), error.what());
  }
}

/// For CLI11's conversion errors: CLI11 itself converts only flags.
std::string describe_flag(CLI::App& app) {
  for (CLI::App* part : parts(app))
    for (const CLI::Option* option : part->get_options())
      if (option->get_expected_max() == 0)
        for (const std::string& value : option->results())
          if (value != "true" && value != "false")
            return fmt::format("{} takes no value, but {} is given", option->get_name(), value);
  return "an option that takes no value is given one";
}

std::string describe_missing(CLI::App& app) {
  for (CLI::App* part : parts(app))
    for (const CLI::Option* option : part->get_options())
      if (option->get_required() && option->count() == 0)
        return fmt::format("{} is missing: {}", option->get_name(), option->get_description());
  return fmt::format("a command is missing; give one of {}",
                     fmt::join(subcommand_names(app), ", "));
}

std::string describe_excluded(CLI::App& app) {
  for (CLI::App* part : parts(app))
    for (const CLI::Option* option : part->get_options())
      for (const CLI::Option* other : option->get_excludes())
        if (option->count() > 0 && other->count() > 0)
          return fmt::format("{} and {} do not go together; leave one of them out",
                             option->get_name(), other->get_name());
  return "there are options that do not go together";
}

std::string describe_lonely(CLI::App& app) {
  for (CLI::App* part : parts(app))
    for (const CLI::Option* option : part->get_options())
      for (const CLI::Option* other : option->get_needs())
        if (option->count() > 0 && other->count() == 0)
          return fmt::format("{} is for {}; give that too, or leave it out", option->get_name(),
                             other->get_name());
  return "an option is given without another that it needs";
}

/// Only the option's name is taken from CLI11's message.
std::string describe_no_value(std::string_view text) {
  return fmt::format("{} is given without a value; give it one, or leave it out",
                     text.substr(0, text.find(':')));
}

/// Returns the message for a parse error. An unknown argument is reported first: it is often the
/// reason why another one is missing.
std::string describe(CLI::App& app, const CLI::ParseError& error) {
  for (const std::string& argument : app.remaining(true))
    if (argument != "--") return describe_unknown(app, argument);
  for (CLI::App* part : parts(app))
    for (const CLI::Option* option : part->get_options())
      if (option->get_expected_max() == 1 && option->count() > 1)
        return fmt::format("{} is given {} times; give it once", option->get_name(),
                           option->count());
  if (dynamic_cast<const CLI::FileError*>(&error))
    if (const std::string problem = describe_unreadable_options(app); !problem.empty())
      return problem;
  if (dynamic_cast<const CLI::ConversionError*>(&error)) return describe_flag(app);
  if (dynamic_cast<const CLI::RequiredError*>(&error)) return describe_missing(app);
  if (dynamic_cast<const CLI::ExcludesError*>(&error)) return describe_excluded(app);
  if (dynamic_cast<const CLI::RequiresError*>(&error)) return describe_lonely(app);
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error)) return describe_no_value(error.what());
  // messages of our own checks
  if (dynamic_cast<const CLI::ValidationError*>(&error)) return error.what();
  return "the command line cannot be read";
}

/// Rejects "--out --overwrite", where CLI11 would take the second option as the value of the first,
/// and an empty value of an option that needs none, which it would take for none.
void check_values_are_no_options(CLI::App& app, int argc, const char* const* argv) {
  const std::vector<std::string> names = option_names(app);
  const auto is_name = [&](std::string_view word) {
    return std::ranges::find(names, word) != names.end();
  };
  for (int i = 1; i + 1 < argc && std::string_view(argv[i]) != "--"; ++i) {
    const std::string_view word = argv[i], next = argv[i + 1];
    if (!is_name(word)) continue;
    const bool is_option = is_name(next.substr(0, next.find('=')));
    for (CLI::App* part : parts(app)) {
      const CLI::Option* option = part->get_option_no_throw(std::string(word));
      if (!option || option->get_expected_max() == 0) continue;
      if (option->get_expected_min() == 0 && next.empty())
        fail_usage("{} is empty; give it a value, or leave the empty word out", word);
      if (option->get_expected_min() > 0 && is_option)
        fail_usage(
            "{} is given without a value: the option {} follows; give it one, or write {}={} if "
            "that is meant",
            word, next, word, next);
    }
  }
}

/// Makes the help show another name of the program. Its examples begin with the name, a line each.
void rename(CLI::App& app, const std::string& name) {
  std::string footer = app.get_footer();
  const std::string begin = "\n  ";
  for (size_t at = 0; (at = footer.find(begin + app.get_name() + " ", at)) != footer.npos;)
    footer.replace(at += begin.size(), app.get_name().size(), name);
  app.footer(footer);
  app.name(name);
}

template <class Number>
std::string range_in_words(const Bounds& bounds) {
  if constexpr (std::is_integral_v<Number>) {
    const auto bound = [](std::optional<double> asked, Number of_type) {
      return asked ? static_cast<Number>(*asked) : of_type;
    };
    using Limits = std::numeric_limits<Number>;
    return fmt::format("a whole number from {} to {}", bound(bounds.at_least, Limits::min()),
                       bound(bounds.at_most, Limits::max()));
  }
  std::vector<std::string> parts;
  for (const auto& [symbol, bound] : {std::pair(">=", bounds.at_least),
                                      {">", bounds.more_than},
                                      {"<=", bounds.at_most},
                                      {"<", bounds.less_than}})
    if (bound) parts.push_back(fmt::format("{} {}", symbol, *bound));
  return fmt::format("a number {}", fmt::join(parts, " and "));
}

/// Adds an option whose text is parsed by `parse`. If `parse` returns nullopt, the error says that
/// the text is not `what`.
template <class Number>
CLI::Option* parsed_option(CLI::App& app, const std::string& name, Number& value,
                           const std::string& description, const std::string& what,
                           std::function<std::optional<Number>(const std::string&)> parse,
                           std::function<std::string()> standard) {
  const auto read = [&value, name, what, parse = std::move(parse)](const CLI::results_t& texts) {
    const std::optional<Number> parsed = parse(texts.front());
    if (!parsed) throw CLI::ValidationError(name, fmt::format("{} is not {}", texts.front(), what));
    value = *parsed;
    return true;
  };
  return app.add_option(name, read, description, false, std::move(standard))
      ->type_name(std::is_integral_v<Number> ? "INT" : "FLOAT");
}

/// A float is compared with the bounds as a double, as written. Whether its rounded value is
/// allowed is checked where the option's meaning is known.
template <class Number>
std::optional<Number> parse_within(const Bounds& bounds, const std::string& text) {
  using Parsed = std::conditional_t<std::is_integral_v<Number>, Number, double>;
  const std::optional<Parsed> parsed = parse_number<Parsed>(text);
  if (!parsed || !is_within(bounds, static_cast<double>(*parsed))) return std::nullopt;
  return static_cast<Number>(*parsed);
}

}  // namespace

Program::Program(std::string name, std::string description, const std::string& example)
    : app_(std::move(description), std::move(name)), threads_(default_threads()) {
  app_.footer("Example:\n  " + example);
  const auto version = [this] { return app_.get_name() + " " MMREC_VERSION; };
  app_.set_version_flag("--version", version, "print the version and exit");
  app_.fallthrough();
  app_.option_defaults()->always_capture_default();
  number(app_, "--threads", threads_,
         "threads to compute with; the default is OMP_NUM_THREADS, or the cores this process may "
         "use, or a container's share of them",
         {.at_least = 1, .at_most = 1024})
      ->default_str("");  // a manual page is not for this machine alone
  number(app_, "--seed", seed_, "seed of everything that is random");
  app_.add_flag("--quiet", quiet_, "print errors only");
}

std::string Program::parse(int argc, const char* const* argv) {
  try {
    take_marks_off(app_);
    check_values_are_no_options(app_, argc, argv);
    app_.parse(marked_arguments(argc, argv));
    return "";
  } catch (const CLI::Success&) {  // --help, --version
    throw;
  } catch (const CLI::ParseError& error) {
    return fmt::format("{}\nrun '{} --help' for the options", without_marks(describe(app_, error)),
                       app_.get_name());
  } catch (const UsageError& error) {  // in the file of --options
    return error.what();
  }
}

int Program::run(int argc, const char* const* argv, const std::function<void()>& body) {
  // If a standard descriptor is closed, the first opened file would get its number and receive the
  // program's output.
  for (const int descriptor : {0, 1, 2})
    if (::fcntl(descriptor, F_GETFD) == -1 && errno == EBADF && ::open("/dev/null", O_RDWR) < 0)
      return kFailed;
  keep_memory_reserve();
  std::signal(SIGXFSZ, SIG_IGN);  // makes a file-size limit an error of write(), like a full disk
  const std::string installed_name = kInstalledPrefix + app_.get_name();
  if (std::filesystem::path(argv[0]).filename() == installed_name) rename(app_, installed_name);
  try {
    if (const std::string problem = agree_(parse(argc, argv)); !problem.empty())
      return prints_ ? report(kWrongUse, problem) : kWrongUse;
    check_kernels();
    set_num_threads(threads_);
    on_missing_threads([this](int started, int wanted) {
      if (!quiet_)
        print_warning(
            fmt::format("{} threads in place of {}: the system starts no more; limits on processes "
                        "(ulimit -u, a container's) or memory "
                        "(ulimit -v) are reached",
                        started, wanted));
    });
    body();
    if (std::fflush(stdout) == 0 && !std::ferror(stdout)) return kSuccess;
    if (nobody_reads()) return kNobodyReads;
    fail("cannot write to standard output; is the disk full?");
  } catch (const CLI::CallForVersion& version) {
    if (prints_) print(stdout, fmt::format("{}\n", version.what()));
    return kSuccess;
  } catch (const CLI::CallForHelp&) {
    if (prints_) print(stdout, app_.help());
    return kSuccess;
  } catch (const UsageError& error) {
    return report(kWrongUse, error.what());
  } catch (const std::exception& error) {
    const auto* system = dynamic_cast<const std::system_error*>(&error);
    if (system && system->code() == std::errc::broken_pipe) return kNobodyReads;
    return report(kFailed, speaker_ + in_words(error));
  }
}

void Program::share_cores(int processes) const {
  const bool given = app_.get_option("--threads")->count() > 0 || std::getenv("OMP_NUM_THREADS");
  if (processes > 1 && !given) set_num_threads(std::max(1, num_threads() / processes));
}

template <class Number>
CLI::Option* number(CLI::App& app, const std::string& name, Number& value,
                    const std::string& description, const Bounds& bounds) {
  return parsed_option<Number>(
      app, name, value, description, range_in_words<Number>(bounds),
      [bounds](const std::string& text) { return parse_within<Number>(bounds, text); },
      [&value] { return fmt::format("{}", value); });
}
template CLI::Option* number(CLI::App&, const std::string&, int&, const std::string&,
                             const Bounds&);
template CLI::Option* number(CLI::App&, const std::string&, int64_t&, const std::string&,
                             const Bounds&);
template CLI::Option* number(CLI::App&, const std::string&, uint64_t&, const std::string&,
                             const Bounds&);
template CLI::Option* number(CLI::App&, const std::string&, float&, const std::string&,
                             const Bounds&);
template CLI::Option* number(CLI::App&, const std::string&, double&, const std::string&,
                             const Bounds&);

CLI::Option* number_or_auto(CLI::App& app, const std::string& name, int64_t& value,
                            int64_t automatic, const std::string& description,
                            const Bounds& bounds) {
  return parsed_option<int64_t>(
      app, name, value, description, "auto and not " + range_in_words<int64_t>(bounds),
      [=](const std::string& text) {
        return text == "auto" ? automatic : parse_within<int64_t>(bounds, text);
      },
      [&value, automatic] { return value == automatic ? "auto" : fmt::format("{}", value); });
}

CLI::Option* precision(CLI::App& app, std::string& value) {
  return precision(app, value, "--precision",
                   "what the factors of matrix products are rounded to: float32, or bf16, as of "
                   "train, or int8, only the weights; whatever the model was trained in");
}

CLI::Option* precision(CLI::App& app, std::string& value, const std::string& name,
                       const std::string& description) {
  return app.add_option(name, value, description)->check(one_of({"float32", "bf16", "int8"}));
}

CLI::Validator one_of(std::vector<std::string> words) {
  const std::string shown = fmt::format("{{{}}}", fmt::join(words, ","));
  return CLI::Validator(
      [words = std::move(words)](std::string& text) {
        if (std::ranges::find(words, text) != words.end()) return std::string();
        return fmt::format("{} is not one of: {}", text, fmt::join(words, ", "));
      },
      shown);
}

}  // namespace mmrec
