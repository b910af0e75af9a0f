#include "train/run/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <memory>
#include <thread>

#include "support/atomic_file.h"
#include "tests/common/temporary_directory.h"

namespace mmrec {
namespace {

using test::TemporaryDirectory;

/// Sets an environment variable during its lifetime; nullptr unsets it.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    set(value);
  }
  ~ScopedVariable() { set(before_ ? before_->c_str() : nullptr); }
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;

 private:
  void set(const char* value) { value ? ::setenv(name_, value, 1) : ::unsetenv(name_); }

  const char* name_;
  std::optional<std::string> before_;
};

/// A pseudo-terminal that records what is printed on it.
class Terminal {
 public:
  explicit Terminal(unsigned short columns) {
    winsize size{};
    size.ws_row = 24;
    size.ws_col = columns;
    int terminal = -1;
    if (::openpty(&screen_, &terminal, nullptr, nullptr, &size) == 0)
      output_.reset(::fdopen(terminal, "w"));
  }
  ~Terminal() {
    if (screen_ >= 0) ::close(screen_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  std::FILE* output() const { return output_.get(); }
  /// Returns the output since the last call, with "\r\n" as "\n".
  std::string printed() {
    std::string text;
    char buffer[4096];
    for (pollfd ready{screen_, POLLIN, 0};
         ::poll(&ready, 1, 50) == 1 && (ready.revents & POLLIN);) {
      const ssize_t got = ::read(screen_, buffer, sizeof buffer);
      if (got <= 0) break;
      text.append(buffer, static_cast<size_t>(got));
    }
    for (size_t place; (place = text.find("\r\n")) != text.npos;) text.erase(place, 1);
    return text;
  }

 private:
  int screen_ = -1;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> output_{nullptr, std::fclose};
};

class RunLogTest : public testing::Test {
 protected:
  std::string logged() const { return read_file(log_file_); }
  /// Returns the output to a file that replaces standard output.
  std::string printed() const { return read_file(output_file_); }

  TemporaryDirectory directory_;
  std::filesystem::path log_file_ = directory_ / "training_output.log",
                        output_file_ = directory_ / "stdout";
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_{std::fopen(output_file_.c_str(), "w"),
                                                        std::fclose};
  Terminal terminal_{60};
  ScopedVariable term_{"TERM", "xterm"}, no_color_{"NO_COLOR", nullptr};
};

MetricsRow row_at(int64_t step, double seconds) {
  return {.step = step,
          .epoch = 1,
          .loss = 2.5,
          .lr = 3e-4,
          .grad_norm = 0.75,
          .tokens = 0,
          .tokens_per_second = 12345,
          .seconds = seconds};
}

TEST_F(RunLogTest, ATableIsRedrawnInItsPlace) {
  Console console(false, terminal_.output());
  console.redraw("a\nb\x1b\n");
  EXPECT_EQ(terminal_.printed(), "a\nb\\x1b\n");
  console.redraw("c\n");
  EXPECT_EQ(terminal_.printed(), "\x1b[2F\x1b[Jc\n");
  std::string tall;
  for (int i = 0; i < 40; ++i) tall += "x\n";
  console.redraw(tall);
  EXPECT_EQ(terminal_.printed(), "\x1b[1F\x1b[J" + tall.substr(0, 2 * 23))
      << "no more than the terminal shows";
  Console plain(false, file_.get());
  plain.redraw("a\n");
  plain.redraw("b\n");
  EXPECT_EQ(printed(), "a\nb\n");
}

TEST_F(RunLogTest, PlainLinesGoToBothPlaces) {
  RunLog log(log_file_, false, file_.get());
  log.line("heading", Style::kHeading);
  log.line("warning", Style::kWarning);
  log.status("not shown");
  EXPECT_FALSE(log.has_status());
  EXPECT_EQ(printed(), "heading\nwarning\n");
  EXPECT_EQ(logged(), "heading\nwarning\n");
}

TEST_F(RunLogTest, QuietOnlyLogsAndAppends) {
  { RunLog(log_file_, true, file_.get()).line("first run"); }
  RunLog(log_file_, true, file_.get()).line("second run");
  EXPECT_EQ(printed(), "");
  EXPECT_EQ(logged(), "first run\nsecond run\n");
}

TEST_F(RunLogTest, APipeThatDoesNotBlockLosesNothing) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
  std::string got;
  std::jthread reader([&] {
    char buffer[1000];
    for (pollfd ready{ends[0], POLLIN, 0}; ::poll(&ready, 1, -1) == 1;) {
      const ssize_t size = ::read(ends[0], buffer, sizeof buffer);
      if (size <= 0) return;
      got.append(buffer, static_cast<size_t>(size));
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  });
  std::string want;
  {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(::fdopen(ends[1], "w"), std::fclose);
    Console console(false, pipe.get());
    for (int i = 0; i < 20; ++i) {
      const std::string line(10'000 + i, static_cast<char>('a' + i));
      console.line(line);
      want += line + "\n";
    }
    print(pipe.get(), std::string(100'000, 'z'));  // more than a pipe holds
    want += std::string(100'000, 'z');
    EXPECT_FALSE(std::ferror(pipe.get()));
  }
  reader.join();
  ::close(ends[0]);
  EXPECT_TRUE(got == want) << got.size() << " of " << want.size() << " bytes";
}

TEST_F(RunLogTest, ColoursOnATerminalOnly) {
  if (!terminal_.output()) GTEST_SKIP() << "no terminal";
  RunLog log(log_file_, false, terminal_.output());
  log.line("heading", Style::kHeading);
  log.line("plain");
  EXPECT_EQ(terminal_.printed(), "\x1b[1mheading\x1b[0m\nplain\n");
  EXPECT_EQ(logged(), "heading\nplain\n");
}

TEST_F(RunLogTest, NoColorAndDumbTerminals) {
  if (!terminal_.output()) GTEST_SKIP() << "no terminal";
  {
    const ScopedVariable no_color("NO_COLOR", "1");
    RunLog log(log_file_, false, terminal_.output());
    log.line("heading", Style::kHeading);
    EXPECT_EQ(terminal_.printed(), "heading\n");
    EXPECT_TRUE(log.has_status());
  }
  const ScopedVariable term("TERM", "dumb");
  RunLog log(log_file_, false, terminal_.output());
  log.line("heading", Style::kHeading);
  log.status("not shown");
  EXPECT_EQ(terminal_.printed(), "heading\n");
}

TEST_F(RunLogTest, LinesEraseTheStatus) {
  if (!terminal_.output()) GTEST_SKIP() << "no terminal";
  {
    RunLog log(log_file_, false, terminal_.output());
    log.status("one");
    log.status("two");
    log.line("line");
    EXPECT_EQ(terminal_.printed(), "\r\x1b[Kone\r\x1b[Ktwo\r\x1b[Kline\n");
    log.status("three");
  }
  EXPECT_EQ(terminal_.printed(), "\r\x1b[Kthree\r\x1b[K");
  EXPECT_EQ(logged(), "line\n");
}

TEST_F(RunLogTest, TextHasNoEffectOnTheTerminal) {
  if (!terminal_.output()) GTEST_SKIP() << "no terminal";
  RunLog log(log_file_, false, terminal_.output());
  log.line("a \x1b[31mfile\xe9\nand a\tline");
  EXPECT_EQ(terminal_.printed(), "a \\x1b[31mfile\\xe9\nand a\tline\n");
  EXPECT_EQ(logged(), "a \\x1b[31mfile\\xe9\nand a\tline\n");
  log.status("reading \x1b[31m\n");
  EXPECT_EQ(terminal_.printed(), "\r\x1b[Kreading \\x1b[31m\\x0a");
  log.status(std::string(58, 'x') + "\u20ac and more");
  EXPECT_EQ(terminal_.printed(), "\r\x1b[K" + std::string(58, 'x'))
      << "59 columns, and no part of a character";
}

TEST_F(RunLogTest, ProgressFitsTheTerminal) {
  for (const uint16_t columns : std::to_array<uint16_t>({20, 40, 60, 79, 80, 120})) {
    Terminal terminal(columns);
    if (!terminal.output()) GTEST_SKIP() << "no terminal";
    RunLog log(log_file_, false, terminal.output());
    Progress progress(log, 1000, 3);
    progress.update(row_at(100, 1));
    const std::string text = terminal.printed().substr(std::string_view("\r\x1b[K").size());
    EXPECT_LT(text.size(), columns) << text;
    EXPECT_TRUE(text.starts_with("step 100/1000")) << text;
    EXPECT_EQ(text.ends_with("grad 0.750"), columns == 120) << text;
  }
}

TEST_F(RunLogTest, ProgressRedrawsAtMostTenTimesASecond) {
  if (!terminal_.output()) GTEST_SKIP() << "no terminal";
  RunLog log(log_file_, false, terminal_.output());
  Progress progress(log, 1001, 1);
  std::string during;
  for (int step = 1; step <= 1000; ++step) {
    progress.update(row_at(step, step * 0.001));
    if (step % 250 == 0) during += terminal_.printed();  // before the terminal's buffer is full
  }
  EXPECT_GE(std::ranges::count(during, '\r'), 9);
  EXPECT_LE(std::ranges::count(during, '\r'), 11);
  progress.update(row_at(1001, 1.001));
  EXPECT_NE(terminal_.printed().find("step 1001/1001"), std::string::npos)
      << "the last step shows in any case";
}

TEST_F(RunLogTest, ProgressWithoutATerminalIsOccasionalPlainLines) {
  RunLog log(log_file_, false, file_.get());
  Progress progress(log, 100, 3);
  for (int step = 1; step <= 100; ++step) progress.update(row_at(step, step * 0.01));
  const std::string text = printed();
  EXPECT_TRUE(text.starts_with(
      "step 1/100  loss 2.5000  -:-- left  epoch 1/3  12345 tokens/s  lr 3.00e-04  grad 0.750\n"))
      << text;
  EXPECT_NE(text.find("\nstep 100/100  loss 2.5000  0:00 left"), std::string::npos) << text;
  EXPECT_EQ(std::ranges::count(text, '\n'), 21);  // 1, 6, 11, .., 96 and the last
  EXPECT_EQ(text, logged());
}

TEST_F(RunLogTest, ProgressOfSlowStepsIsALineEveryTenSeconds) {
  RunLog log(log_file_, false, file_.get());
  Progress progress(log, 1'000'000, 1);
  for (int step = 0; step <= 100; ++step) progress.update(row_at(500 + step, 100 + step));
  EXPECT_EQ(std::ranges::count(printed(), '\n'), 11);
  EXPECT_NE(printed().find("step 510/1000000  loss 2.5000  277:38:10 left"), std::string::npos)
      << printed();
}

TEST(FormatDuration, KnownValues) {
  EXPECT_EQ(format_duration(0), "0:00");
  EXPECT_EQ(format_duration(59.6), "1:00");
  EXPECT_EQ(format_duration(3599), "59:59");
  EXPECT_EQ(format_duration(3909), "1:05:09");
  EXPECT_EQ(format_duration(1e13), "2777777777:46:40");
  EXPECT_EQ(format_duration(1e300), "1e+300 s");
  for (const double none : {std::numeric_limits<double>::infinity(), MetricsRow::kNone})
    EXPECT_EQ(format_duration(none), "-:--");
}

}  // namespace
}  // namespace mmrec
