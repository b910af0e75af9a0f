#include "train/command_line.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <new>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "runtime/error.h"
#include "runtime/kernel_registry.h"
#include "runtime/threads.h"
#include "train/did_you_mean.h"

namespace mmrec {
namespace {

enum ExitCode { kSuccess = 0, kFailed = 1, kWrongUse = 2, kNobodyReads = 128 + SIGPIPE };

int report(ExitCode code, std::string_view message) {
  std::fflush(stdout);
  std::fputs(fmt::format("error: {}\n", message).c_str(), stderr);
  return code;
}

/// Whether standard output is a pipe that nobody reads any more.
bool nobody_reads() {
  pollfd output{STDOUT_FILENO, 0, 0};
  return ::poll(&output, 1, 0) == 1 && (output.revents & POLLERR) != 0;
}

/// The program and the subcommand that was given.
std::vector<CLI::App*> parts(CLI::App& app) {
  std::vector<CLI::App*> apps = app.get_subcommands();
  apps.push_back(&app);
  return apps;
}

/// Their options.
std::vector<std::string> option_names(CLI::App& app) {
  std::vector<std::string> names;
  for (CLI::App* part : parts(app))
    for (const CLI::Option* option : part->get_options())
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

std::vector<std::string> subcommand_names(CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* subcommand : app.get_subcommands([](CLI::App*) { return true; })) names.push_back(subcommand->get_name());
  return names;
}

/// What to say about an argument that no option or subcommand took.
std::string describe_unknown(CLI::App& app, std::string_view argument) {
  const bool is_option = argument.starts_with('-');
  const std::string_view name = argument.substr(0, argument.find('='));
  const std::vector<std::string> candidates = is_option ? option_names(app) : subcommand_names(app);
  return fmt::format("{} {}{}", is_option ? "unknown option" : "unexpected argument", name, did_you_mean(name, candidates));
}

/// An argument that nobody took is told first: it is often the reason why another is missing.
std::string describe(CLI::App& app, const CLI::ParseError& error) {
  for (const std::string& argument : app.remaining(true))
    if (argument != "--") return describe_unknown(app, argument);
  for (CLI::App* part : parts(app))
    for (const CLI::Option* option : part->get_options())
      if (option->get_expected_max() == 1 && option->count() > 1)
        return fmt::format("{} is given {} times; give it once", option->get_name(), option->count());
  return error.what();
}

template <class Compare>
CLI::Validator number_check(const char* symbol, double bound, Compare compare) {
  const auto check = [=](std::string& text) {
    double value = 0;
    const bool good = CLI::detail::lexical_cast(text, value) && std::isfinite(value) && compare(value, bound);
    return good ? std::string() : fmt::format("{} is not a number {} {}", text, symbol, bound);
  };
  return CLI::Validator(check, "");
}

}  // namespace

Program::Program(std::string name, std::string description, const std::string& example)
    : app_(std::move(description), std::move(name)), threads_(available_threads()) {
  app_.footer("Example:\n  " + example);
  app_.fallthrough();
  app_.option_defaults()->always_capture_default();
  app_.add_option("--threads", threads_, "threads to compute with; the default is the cores this process may use")
      ->check(at_least(1))
      ->check(at_most(1024));
  app_.add_option("--seed", seed_, "seed of everything that is random")->check(at_least(0));
  app_.add_flag("--quiet", quiet_, "print errors only");
}

int Program::run(int argc, const char* const* argv, const std::function<void()>& body) {
  // A closed standard descriptor would be given to the first file that is opened, which then received what is printed.
  for (const int descriptor : {0, 1, 2})
    if (::fcntl(descriptor, F_GETFD) == -1 && errno == EBADF && ::open("/dev/null", O_RDWR) < 0) return kFailed;
  std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit is an error of write(), with a message, like a full disk
  try {
    app_.parse(argc, argv);
    check_kernels();
    set_num_threads(threads_);
    body();
    if (std::fflush(stdout) == 0 && !std::ferror(stdout)) return kSuccess;
    if (nobody_reads()) return kNobodyReads;
    fail("cannot write to standard output; is the disk full?");
  } catch (const CLI::CallForHelp&) {
    std::fputs(app_.help().c_str(), stdout);
    return kSuccess;
  } catch (const CLI::ParseError& error) {
    return report(kWrongUse, fmt::format("{}\nrun '{} --help' for the options", describe(app_, error), app_.get_name()));
  } catch (const UsageError& error) {
    return report(kWrongUse, error.what());
  } catch (const std::bad_alloc&) {
    return report(kFailed, "not enough memory");
  } catch (const std::exception& error) {
    const auto* system = dynamic_cast<const std::system_error*>(&error);
    if (system && system->code() == std::errc::broken_pipe) return kNobodyReads;
    return report(kFailed, error.what());
  }
}

CLI::Validator at_least(double bound) { return number_check(">=", bound, std::greater_equal<>()); }
CLI::Validator at_most(double bound) { return number_check("<=", bound, std::less_equal<>()); }
CLI::Validator more_than(double bound) { return number_check(">", bound, std::greater<>()); }
CLI::Validator less_than(double bound) { return number_check("<", bound, std::less<>()); }

CLI::Validator auto_or_at_least(double bound, int64_t automatic) {
  const auto transform = [number = at_least(bound), automatic](std::string& text) {
    if (text != "auto") return number(text);
    text = std::to_string(automatic);
    return std::string();
  };
  return CLI::Validator(transform, "");
}

}  // namespace mmrec
