#pragma once

#include <sys/types.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "support/atomic_file.h"
#include "tests/common/process.h"

namespace mmrec::test {

/// The words before those of a program that start it with so many ranks.
inline std::vector<std::string> mpirun(int ranks) {
  return {MMREC_MPIRUN, "--allow-run-as-root", "--oversubscribe", "--bind-to", "none",
          "-n",         std::to_string(ranks)};
}

/// Writes a text that is soon trained on.
inline void write_play(const std::filesystem::path& file) {
  std::ofstream(file) << read_file(std::filesystem::path(MMREC_SOURCE_DIR) /
                                   "data/tiny_shakespeare/input.txt")
                             .substr(0, 20000);
}

inline std::filesystem::path program_path(const std::string& name) {
  return std::filesystem::path(MMREC_BINARY_DIR) / name;
}

/// Returns the ids of the processes of a program in whose command line the text occurs.
inline std::vector<pid_t> processes_of(const std::string& program, const std::string& text) {
  std::vector<pid_t> processes;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string words = about_process(entry.path(), "cmdline");
    if (words.starts_with(program_path(program).string()) && words.find(text) != words.npos)
      processes.push_back(std::stoi(entry.path().filename()));
  }
  return processes;
}

}  // namespace mmrec::test
