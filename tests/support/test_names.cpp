#include "support/names.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "support/atomic_file.h"
#include "tests/common/process.h"
#include "tests/common/some_names.h"
#include "tests/common/temporary_directory.h"

namespace mmrec {
namespace {

using test::some_names;

TEST(Names, SurviveJsonWithAnyBytes) {
  std::set<std::string> texts;
  const std::vector<std::string> names = some_names(5000);
  for (const std::string& name : names) {
    const std::string text = text_of_name(name);
    texts.insert(text);
    std::string json;
    ASSERT_NO_THROW(json = nlohmann::json(text).dump()) << testing::PrintToString(name);
    EXPECT_EQ(name_of_text(nlohmann::json::parse(json).get<std::string>()), name) << json;
  }
  EXPECT_EQ(texts.size(), std::set<std::string>(names.begin(), names.end()).size());
}

TEST(Names, Utf8StaysUnchanged) {
  for (const char* name :
       {"", "data/book.txt", "C:\\x41\\xe9", "\\\\xff", "Größe \u20ac", "a\tb\nc", "\x1b"}) {
    EXPECT_EQ(text_of_name(name), name);
    EXPECT_EQ(name_of_text(name), name) << "as earlier versions wrote it";
  }
  EXPECT_EQ(nlohmann::json(text_of_name("caf\xe9.txt")).dump(), R"("caf\u0000e9.txt")");
}

TEST(Names, ControlCharactersHaveNoEffectOnATerminal) {
  EXPECT_EQ(visible("one\n\ttwo \u20ac é\r\n"), "one\n\ttwo \u20ac é\r\n");
  EXPECT_EQ(visible("\x1b]0;title\x07 \x7f a\rb \u009b31m caf\xe9 \x9b"),
            "\\x1b]0;title\\x07 \\x7f a\\x0db \\u009b31m caf\\xe9 \\x9b");
  EXPECT_EQ(visible(std::string_view("\0\r", 2)), "\\x00\\x0d");
  EXPECT_EQ(visible_in_line("a\nb\tc\r\n"), "a\\x0ab\\x09c\\x0d\\x0a");
  for (const std::string& name : some_names(2000)) {
    const std::string shown = visible_in_line(name);
    EXPECT_EQ(shown.find_first_of("\x1b\x7f\n\r\t\x07"), shown.npos);
    EXPECT_EQ(text_of_name(shown), shown) << "it is UTF-8";
    EXPECT_EQ(visible_in_line(shown), shown);
    EXPECT_EQ(visible(visible(name)), visible(name));
  }
}

TEST(Names, ShellReadsQuotedNamesBack) {
  const test::TemporaryDirectory directory;
  const std::vector<std::string> names = some_names(300);
  std::string script = "export LC_ALL=C.UTF-8\n", want;
  for (const std::string& name : names) {
    script += fmt::format("printf '%s\\0' {}\n", shell_quoted(name));
    want += name + '\0';
  }
  EXPECT_EQ(shell_quoted("checkpoints/a b"), "'checkpoints/a b'");
  EXPECT_EQ(shell_quoted("caf\xe9's"), "$'caf\\xe9\\'s'");
  write_file_atomically(directory / "script", script);
  EXPECT_EQ(
      test::Process({"/bin/bash", (directory / "script").string()}, {}, directory.path()).wait(),
      0);
  EXPECT_EQ(read_file(directory / "stdout"), want);
}

}  // namespace
}  // namespace mmrec
