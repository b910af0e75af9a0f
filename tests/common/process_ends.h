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

/// Whether a process that is nobody's to wait for is gone, or soon will be; otherwise it is ended now.
inline bool ends(pid_t process) {
  const std::filesystem::path status = std::filesystem::path("/proc") / std::to_string(process) / "status";
  for (int i = 0; i < 1000; ++i) {
    try {  // without an init process it stays as a zombie
      if (!std::filesystem::exists(status) || read_file(status).find("State:\tZ") != std::string::npos) return true;
    } catch (const Error&) {
      return true;  // gone between the two
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ::kill(process, SIGKILL);
  return false;
}

}  // namespace mmrec::test
