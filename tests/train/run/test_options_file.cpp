#include "train/run/options_file.h"

#include <gtest/gtest.h>

#include "support/error.h"
#include "support/names.h"
#include "tests/common/expect_error.h"
#include "tests/common/some_names.h"

namespace mmrec {
namespace {

using test::some_names;

TEST(OptionsFile, ReadsBackEveryName) {
  const std::vector<std::string> names = some_names(3000);
  std::vector<FileOption> options;
  for (size_t i = 0; i < names.size(); ++i)
    options.push_back({fmt::format("name{}", i), {names[i]}});
  options.push_back({"set", {names.begin(), names.end()}});
  const std::string text = options_file_text("about\n\x1b \xe9 \x7f", options);
  EXPECT_EQ(parse_options_file(text, "file"), options);
  EXPECT_EQ(text_of_name(text), text) << "it is UTF-8";
}

TEST(OptionsFile, ReadsHandWrittenFiles) {
  const std::vector<FileOption> want = {
      {"data", {"a book.txt"}},  {"steps", {"3"}},        {"lr", {"3e-3"}},
      {"tensorboard", {"true"}}, {"init", {"a\\b"}},      {"seed", {"-1"}},
      {"out", {"caf\xe9"}},      {"val-split", {"0.25"}}, {"set", {"dim=32", "layers=2"}},
      {"memory", {"learned"}}};
  EXPECT_EQ(parse_options_file("# settings\n\ndata = \"a book.txt\"   # the text\nsteps=3\nlr = "
                               "3e-3\ntensorboard = true\ninit = 'a\\b'\nseed = -1\n"
                               "out = \"caf\xe9\"\r\nval-split = 0.25\nset = [\n  \"dim=32\",\n  "
                               "'layers=2',\n]\nmemory = \"learned\"",
                               "file"),
            want);
  EXPECT_TRUE(parse_options_file("", "file").empty());
  EXPECT_EQ(
      options_file_text(
          "best", {{"lr", {"3e-3"}}, {"data", {"a#\"\\\t\n"}}, {"set", {"dim=32", "layers=2"}}}),
      "# best\nlr = \"3e-3\"\ndata = \"a#\\\"\\\\\\t\\n\"\nset = [\"dim=32\", \"layers=2\"]\n");
}

// The command line's own rules then reject number syntax that only TOML allows.
TEST(OptionsFile, NumbersArePassedOnAsWritten) {
  for (const char* number : {"1_000", "0x10", "0o17", "0b11", "+5", "-3", "1e-3", "1_0.5", "3",
                             "010", "18446744073709551615", "99999999999999999999"}) {
    const std::vector<FileOption> want = {
        {"lr", {"1"}}, {"seed", {number}}, {"set", {"\u00e9", number, number}}};
    for (const char* bom : {"", "\xef\xbb\xbf"}) {
      const bool toml =
          std::string_view("010 18446744073709551615 99999999999999999999").find(number) ==
          std::string_view::npos;
      const std::string list = toml ? fmt::format("set = [ \"\u00e9\",{0} , {0}]", number)
                                    : fmt::format("set = [ '\u00e9', '{0}', '{0}']", number);
      EXPECT_EQ(
          parse_options_file(fmt::format("{}lr = 1\r\nseed = {}\r\n{}", bom, number, list), "file"),
          want);
      EXPECT_EQ(parse_options_file(fmt::format("{}seed={}", bom, number), "file"),
                (std::vector<FileOption>{{"seed", {number}}}));
    }
  }
}

TEST(OptionsFile, WordsNeedNoQuotes) {
  EXPECT_EQ(parse_options_file("vocab = auto\ndata=a/caf\xe9-\u00e9.txt # the text\n  lr-min = "
                               "0.1x\t\r\nout = true-runs\nset = 'a'\ninit=~/x",
                               "file"),
            (std::vector<FileOption>{{"vocab", {"auto"}},
                                     {"data", {"a/caf\xe9-\u00e9.txt"}},
                                     {"lr-min", {"0.1x"}},
                                     {"out", {"true-runs"}},
                                     {"set", {"a"}},
                                     {"init", {"~/x"}}}));
}

TEST(OptionsFile, ErrorsNameTheLine) {
  for (const char* line :
       {"data = \"a", "data = \"a\\q\"", "data = a b", "data = a\\b", "set = [a]", "data = a\"b",
        "steps", "= 3", "steps = 3\nsteps = 4", "a\x1b = 1"})
    test::expect_error<UsageError>(
        [&] { parse_options_file(fmt::format("# first\nlr = 1\n{}\n", line), "my.toml"); },
        {"my.toml: line ", "name = "});
  test::expect_error<UsageError>([] { parse_options_file("\nvocab = an auto\n", "my.toml"); },
                                 {"my.toml: line 2: expected name = \"text\""});
  for (const char* line :
       {"[train]", "day = 2024-05-01", "a.b = 1", "set = [[1]]", "set = [{a = 1}]"})
    test::expect_error<UsageError>(
        [&] { parse_options_file(fmt::format("\n{}\n", line), "my.toml"); },
        {"my.toml: line 2", "a text in quotes"});
  test::expect_error<UsageError>([] { parse_options_file("data = \"a\\u0000b\"", "my.toml"); },
                                 {"my.toml: line 1", "NUL"});
}

}  // namespace
}  // namespace mmrec
