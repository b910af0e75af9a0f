#pragma once

#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <string>
#include <thread>

#include "support/atomic_file.h"
#include "support/error.h"

namespace mmrec::test {

/// Returns whether a process that is not our child ends within some seconds. If not, kills it.
inline bool ends(pid_t process) {
  const std::filesystem::path status =
      std::filesystem::path("/proc") / std::to_string(process) / "status";
  for (int i = 0; i < 1000; ++i) {
    try {  // without an init process it stays a zombie
      if (!std::filesystem::exists(status) ||
          read_file(status).find("State:\tZ") != std::string::npos)
        return true;
    } catch (const Error&) {
      return true;  // ended between the two calls
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ::kill(process, SIGKILL);
  return false;
}

}  // namespace mmrec::test
