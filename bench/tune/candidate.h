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

/// What a candidate is made from.
struct Recipe {
  std::string op, pass, variant;
  std::string generator;  ///< in Halide's registry
  Params params;  ///< all that are set: those of the registry line, and those that are tried
  std::vector<std::vector<int>> shapes;  ///< at which it must be right
  uint64_t seed = 0;                     ///< of the operands there
  int threads = num_threads();
  std::string autoscheduler = "";  ///< Adams2019, Mullapudi2016, or none
  bool exactly = false;            ///< right at these shapes is enough: it is not for any other
};

/// A kernel that has been compiled and found right, loaded into this process.
class Candidate {
 public:
  /// Loads a shared object that a worker has made, from code with that fingerprint.
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

/// What became of a recipe.
struct Compiled {
  Status status = Status::kFailed;
  std::string message;                         ///< why there is no candidate
  std::string lowered;                         ///< fingerprint of its code, as far as it came
  std::shared_ptr<const Candidate> candidate;  ///< where the status is kOk
};

/// Makes candidates in processes of their own: what crashes, or takes longer than `limit` seconds
/// to be compiled and checked, is ended there.
class Workshop {
 public:
  struct Settings {
    std::filesystem::path folder;  ///< for its files; made, and removed in the end
    int workers = 1;               ///< at once
    double limit = 60;             ///< seconds
    /// The program whose main() hands its arguments to candidate_main() when the first of them is
    /// kCandidateCommand.
    std::filesystem::path program = "/proc/self/exe";
  };
  explicit Workshop(Settings settings);
  ~Workshop();
  Workshop(const Workshop&) = delete;
  Workshop& operator=(const Workshop&) = delete;

  /// One result for each recipe. What is not ready after `seconds` for all together was too slow as
  /// well; `wait` is called a hundred times a second meanwhile.
  std::vector<Compiled> make(
      const std::vector<Recipe>& recipes, double seconds = INFINITY,
      const std::function<void()>& wait = [] {});

 private:
  Settings settings_;
  DirectoryLock lock_;
  int made_ = 0;
};

/// The worker's side, candidate_worker.cpp.
constexpr const char* kCandidateFunction = "mmrec_candidate";
constexpr const char* kCandidateCommand = "candidate";
/// `<program> candidate <file>` compiles and checks what <file>.json says, and leaves <file>.so and
/// <file>.result.json.
int candidate_main(const std::filesystem::path& file);

}  // namespace mmrec::tune
