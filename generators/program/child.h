#pragma once

#include <Halide.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <string>
#include <utility>

#include "support/error.h"

namespace mmrec::generators {

/// Runs `work` in a forked child process and returns its text. Throws an Error with the child's
/// message if the child fails. The calling process must be single-threaded.
inline std::string in_child(const std::function<std::string()>& work) {
  const auto outcome = [&]() -> std::pair<std::string, int> {
    try {
      return {work(), 0};
    } catch (const Halide::Error& error) {  // not derived from std::exception
      return {error.what(), 1};
    } catch (const std::exception& error) {
      return {error.what(), 1};
    }
  };
  int ends[2];
  if (::pipe(ends) != 0) fail("cannot make a pipe: {}", std::strerror(errno));
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) fail("cannot start a process: {}", std::strerror(errno));
  if (child == 0) {
    const auto [text, code] = outcome();
    for (size_t sent = 0; sent < text.size();) {
      const ssize_t count = ::write(ends[1], text.data() + sent, text.size() - sent);
      if (count < 0) std::_Exit(2);
      sent += static_cast<size_t>(count);
    }
    std::_Exit(code);
  }
  ::close(ends[1]);
  std::string text;
  char part[4096];
  for (ssize_t count;
       (count = ::read(ends[0], part, sizeof(part))) > 0 || (count < 0 && errno == EINTR);)
    if (count > 0) text.append(part, static_cast<size_t>(count));
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status))
    fail("ended by signal {} ({}) {}", WTERMSIG(status), ::strsignal(WTERMSIG(status)), text);
  if (WEXITSTATUS(status) != 0) fail("{}", text);
  return text;
}

}  // namespace mmrec::generators
