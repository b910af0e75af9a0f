#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace mmrec {

/// A program's command line, what all of them share of it, and the way from an exception to an exit code:
///
///     int main(int argc, char** argv) {
///       mmrec::Program program("evaluate", "Measures a model on a text.", "evaluate --checkpoint best --data text.txt");
///       std::string checkpoint;
///       program.app().add_option("--checkpoint", checkpoint, "what to measure")->required();
///       return program.run(argc, argv, [&] { evaluate(checkpoint, program.seed()); });
///     }
///
/// Defaults appear in --help; the common options may also follow a subcommand.
class Program {
 public:
  Program(std::string name, std::string description, const std::string& example);

  CLI::App& app() { return app_; }
  uint64_t seed() const { return seed_; }
  bool quiet() const { return quiet_; }

  /// Parses the command line, sets the number of threads and calls `body`. What goes wrong becomes a line "error: .." on
  /// standard error. Returns the exit code: 0 success (and --help), 1 failed, 2 wrong use (a bad command line, a UsageError), 141 where
  /// nobody reads standard output any more, without a word, as the system does by SIGPIPE where that is not caught or ignored.
  int run(int argc, const char* const* argv, const std::function<void()>& body);

 private:
  CLI::App app_;
  int threads_;
  uint64_t seed_ = 42;
  bool quiet_ = false;
};

// Checks for options of numbers, to be chained: ->check(at_least(0))->check(less_than(1)). An error names the option and the
// value; no NaN and no infinity passes.
CLI::Validator at_least(double bound);
CLI::Validator at_most(double bound);
CLI::Validator more_than(double bound);
CLI::Validator less_than(double bound);
/// For transform(): the word auto, which becomes the number that stands for it, or a number >= bound.
CLI::Validator auto_or_at_least(double bound, int64_t automatic);

}  // namespace mmrec
