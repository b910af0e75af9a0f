#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "support/bounds.h"

namespace mmrec {

/// A program's command line with the common options, and the conversion of exceptions to exit
/// codes:
///
///     int main(int argc, char** argv) {
///       mmrec::Program program("evaluate", "Measures a model on a text.", "evaluate --checkpoint
///       best --data text.txt"); std::string checkpoint; program.app().add_option("--checkpoint",
///       checkpoint, "what to measure")->required(); return program.run(argc, argv, [&] {
///       evaluate(checkpoint, program.seed()); });
///     }
///
/// --help shows defaults, --version the version. An installed program goes by its own name there,
/// mmrec-evaluate. The common options may also follow a subcommand. Arguments are taken
/// literally, also those in brackets.
class Program {
 public:
  Program(std::string name, std::string description, const std::string& example);

  CLI::App& app() { return app_; }
  uint64_t seed() const { return seed_; }
  bool quiet() const { return quiet_; }

  /// Parses the command line, sets the number of threads and calls `body`. Problems are printed to
  /// standard error as "error: ..". Returns the exit code: 0 success (also for --help), 1 failure,
  /// 2 wrong use (bad command line, UsageError), 141 if the reader of standard output has closed
  /// it; then nothing is printed, as with an uncaught SIGPIPE.
  int run(int argc, const char* const* argv, const std::function<void()>& body);
  /// So many processes have the same cores: this one takes its part of them as its number of
  /// threads, if nobody has given one.
  void share_cores(int processes) const;
  /// Prints neither help nor what is wrong with the command line: another process, which has the
  /// same one, does.
  void let_another_print() { prints_ = false; }
  /// Of several processes each calls `agree` before its body, with what is wrong with its own
  /// command line or "". It returns what is wrong for all of them: then none goes on.
  void agree_on_problem(std::function<std::string(const std::string& problem)> agree) {
    agree_ = std::move(agree);
  }
  /// Names this process in failures, for one of several: "error: rank 1 on node2: ..".
  void speak_as(const std::string& name) { speaker_ = name + ": "; }

 private:
  /// Returns what is wrong with the command line, or "".
  std::string parse(int argc, const char* const* argv);

  CLI::App app_;
  int threads_;
  uint64_t seed_ = 42;
  bool quiet_ = false, prints_ = true;
  std::string speaker_;
  std::function<std::string(const std::string&)> agree_ = [](std::string own) { return own; };
};

/// Adds an option that takes a number: number(app, "--beta1", beta1, "AdamW's first decay rate",
/// {.at_least = 0, .less_than = 1}). The whole text must be a decimal number. Any other text, a
/// number out of bounds or not representable in Number, NaN and infinity are wrong use; the message
/// names the option, the text and what is allowed. Number: int, int64_t, uint64_t, float or double.
template <class Number>
CLI::Option* number(CLI::App& app, const std::string& name, Number& value,
                    const std::string& description, const Bounds& bounds = {});
/// Like number(); also accepts the word auto, which is stored as `automatic`.
CLI::Option* number_or_auto(CLI::App& app, const std::string& name, int64_t& value,
                            int64_t automatic, const std::string& description,
                            const Bounds& bounds = {});

/// Adds the options of a table for the members of `values`. A row has a name without dashes, a
/// variant of pointers to members (a bool is a flag), a help text and bounds. Returns the options.
template <class Row, class Values>
std::vector<CLI::Option*> add_options(CLI::App& app, std::span<const Row> table, Values& values) {
  std::vector<CLI::Option*> options;
  for (const Row& row : table) {
    const std::string name = std::string("--") + row.name;
    const auto add = [&]<class T>(T& value) {
      if constexpr (std::is_same_v<T, bool>)
        return app.add_flag(name, value, row.help);
      else
        return number(app, name, value, row.help, row.bounds);
    };
    options.push_back(std::visit([&](auto member) { return add(values.*member); }, row.member));
  }
  return options;
}

/// Adds --precision, for a program that computes with a trained model; see parse_precision(). The
/// same for another option of such a word.
CLI::Option* precision(CLI::App& app, std::string& value);
CLI::Option* precision(CLI::App& app, std::string& value, const std::string& name,
                       const std::string& description);

/// For CLI::Option::check(): the value must be one of these words.
CLI::Validator one_of(std::vector<std::string> words);

}  // namespace mmrec
