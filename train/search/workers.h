#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "support/child_process.h"
#include "train/ranks/ranks.h"

namespace mmrec {

/// The processes of a search's experiments: of train. Each rank runs some of them at a time, on its
/// own cores. The leader, which searches, says which; the others obey() until its object is
/// destroyed.
///
/// The ranks have no limit for each other's answers (Ranks::expect_answers()): a search that was
/// suspended goes on.
class Workers {
 public:
  /// jobs: processes of a rank at the same time, which share so many threads.
  Workers(Ranks& ranks, int jobs, int threads);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  /// Does what the leader says, until it ends. It alone decides when all stop.
  void obey() noexcept;

  // The following is for the leader.

  /// Returns the number of processes that can run at the same time.
  int room() const { return ranks_.size() * jobs_; }
  int threads() const { return threads_; }
  /// Returns "4 ranks on 2 nodes, Open MPI 4.1.4", or "" for one.
  std::string describe_ranks() const { return ranks_.describe(); }
  /// Throws an Error if there is no train, and a UsageError if a rank does not see the leader's
  /// folder or has another train.
  void check(const std::filesystem::path& folder);
  /// Starts train on the rank that runs the fewest, of those that can start it. Throws an Error if
  /// none can. The arguments are without the number of threads. The output identifies the process.
  void start(const std::vector<std::string>& arguments, const std::filesystem::path& output);
  void send(int signal);

  struct Ended {
    std::filesystem::path output;
    int code;  ///< see ChildProcess::poll()
  };
  /// Returns the processes that have ended. Call pause() before the next time: so do the others.
  std::vector<Ended> take_ended();
  static void pause();
  /// Has all processes stop, and waits for their ends.
  void stop();

 private:
  enum class Command : int { kCheck, kStart, kSend, kTakeEnded, kEnd };
  struct Own {
    std::string output;
    ChildProcess process;
  };

  /// The parts of commands that each rank does. They return its answer; of the first two it is why
  /// it cannot, or "".
  std::string check_here(const std::vector<std::string>& order) const;
  std::string start_here(const std::vector<std::string>& order);
  void send_here(int signal) const;
  std::string take_ended_here();

  Ranks& ranks_;
  const int jobs_, threads_;
  std::vector<Own> own_;
  std::vector<int> running_;  ///< the leader's: the number of each rank's processes
};

}  // namespace mmrec
