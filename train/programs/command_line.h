#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "support/bounds.h"

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
/// Defaults appear in --help; the common options may also follow a subcommand. Every argument is taken as it is, also one in brackets.
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

/// An option that takes a number: number(app, "--beta1", beta1, "AdamW's first decay rate", {.at_least = 0, .less_than = 1}). The whole text is
/// the number, in decimal; another text, a number that is out of bounds or that Number cannot hold, NaN and infinity are wrong use, which
/// names the option, the text and what may stand there. Number: int, int64_t, uint64_t, float or double.
template <class Number>
CLI::Option* number(CLI::App& app, const std::string& name, Number& value, const std::string& description, const Bounds& bounds = {});
/// The same, also for the word auto, which becomes the number that stands for it.
CLI::Option* number_or_auto(CLI::App& app, const std::string& name, int64_t& value, int64_t automatic, const std::string& description,
                            const Bounds& bounds = {});

/// For CLI::Option::check(): the value is one of these words.
CLI::Validator one_of(std::vector<std::string> words);

}  // namespace mmrec
