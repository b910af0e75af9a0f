#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/tune/log.h"
#include "generators/registry/instance.h"
#include "runtime/kernel_registry.h"
#include "runtime/threads.h"
#include "support/directory_lock.h"

namespace mmrec::tune {

/// Describes how to make a candidate kernel.
struct Recipe {
  std::string op, pass, dtype, variant;
  std::string generator;  ///< name in Halide's registry
  Params params;          ///< all parameters to set: those of the registry line and the instance's
  std::vector<std::vector<int>> shapes;  ///< sizes at which it must be correct
  uint64_t seed = 0;                     ///< of the operands for the check
  int threads = num_threads();
  std::string autoscheduler = "";  ///< Adams2019, Mullapudi2016, or empty for none
  bool exactly = false;            ///< check only at these shapes: the kernel is for no other sizes

  /// The calls that it serves, without sizes.
  Call call() const { return {op, pass, {}, dtype}; }
};

/// A kernel that was compiled and checked, loaded into this process.
class Candidate {
 public:
  /// Loads a worker's shared object. `lowered`: fingerprint of its code.
  Candidate(const Recipe& recipe, const std::filesystem::path& library, std::string lowered);
  ~Candidate();
  Candidate(const Candidate&) = delete;
  Candidate& operator=(const Candidate&) = delete;

  const KernelEntry& entry() const { return entry_; }

 private:
  std::string op_, pass_, variant_, params_, lowered_;
  void* library_;
  KernelEntry entry_;
};

/// The result for a recipe.
struct Compiled {
  Status status = Status::kFailed;
  std::string message;  ///< why there is no candidate
  std::string lowered;  ///< fingerprint of its code; empty if it was not lowered
  std::shared_ptr<const Candidate> candidate;  ///< set if the status is kOk
};

/// Makes candidates in separate processes. A process that crashes, or exceeds `limit` seconds for
/// compiling and checking, ends without harm to the tuner.
class Workshop {
 public:
  struct Settings {
    /// For its files. Created by the constructor, removed by the destructor.
    std::filesystem::path folder;
    int workers = 1;    ///< number of concurrent processes
    double limit = 60;  ///< seconds per candidate
    /// A program whose main() calls candidate_main() with its second argument if the first one is
    /// kCandidateCommand.
    std::filesystem::path program = "/proc/self/exe";
  };
  explicit Workshop(Settings settings);
  ~Workshop();
  Workshop(const Workshop&) = delete;
  Workshop& operator=(const Workshop&) = delete;

  /// Makes a candidate from each recipe. Recipes that are not finished `seconds` after the start
  /// get status kSlowCompile. Calls `wait` a hundred times per second meanwhile.
  std::vector<Compiled> make(
      const std::vector<Recipe>& recipes, double seconds = INFINITY,
      const std::function<void()>& wait = [] {});

 private:
  Settings settings_;
  DirectoryLock lock_;
  int made_ = 0;
};

/// The worker's side, in candidate_worker.cpp, except for read_recipe(), which reads what make()
/// writes.
Recipe read_recipe(const std::filesystem::path& file);
constexpr const char* kCandidateFunction = "mmrec_candidate";
constexpr const char* kCandidateCommand = "candidate";
/// Runs `<program> candidate <file>`: compiles and checks the recipe in <file>.json, and writes
/// <file>.so and <file>.result.json.
int candidate_main(const std::filesystem::path& file);

}  // namespace mmrec::tune
