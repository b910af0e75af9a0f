#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mmrec {

/// The processes that train one model together, or search: those that mpirun or srun has started,
/// or this one alone. Rank 0 leads: it decides, logs and saves, and the others follow its commands.
///
/// All calls are collective: every rank makes the same ones in the same order. They wait for the
/// others; after expect_answers() not longer than the limit: then one of them hangs or its node is
/// lost, which is reported, and all of them end.
class Ranks {
 public:
  /// This process alone: calls return at once.
  static Ranks& alone();
  /// Those of mpirun or srun, if one of them has started this process; else, and in a build without
  /// MPI, this one alone. Throws a UsageError if mpirun has started a build without MPI, or if MPI
  /// does not see the launcher's ranks.
  static std::unique_ptr<Ranks> of_launcher();
  /// Returns whether mpirun or srun has started this process as another rank than the leader.
  static bool launched_to_follow();
  /// Returns this process's environment without what makes a process a rank, for one that is none.
  static std::vector<std::string> environment_of_others();
  virtual ~Ranks() = default;

  int size() const { return size_; }
  int rank() const { return rank_; }
  bool leads() const { return rank_ == 0; }
  bool are_many() const { return size_ > 1; }
  /// "rank 1 on node2"
  std::string name() const { return name_; }

  /// Returns how many ranks share this rank's cores, itself among them.
  virtual int sharing_cores() const { return 1; }
  /// Tells the others how many threads this rank has.
  virtual void tell_threads(int /*threads*/) {}
  /// "4 ranks on 2 nodes, 2 threads each, Open MPI v4.1.4, shared memory and tcp", or "" for one.
  virtual std::string describe() const { return ""; }
  /// Names the nodes that have fewer cores than their ranks have threads; "" if there are none.
  virtual std::string warning() const { return ""; }

  /// From now on the limit counts: before, a rank may be reading its text for long.
  virtual void expect_answers() {}

  /// What the leader passes replaces what the others pass.
  virtual void broadcast(std::span<std::byte> /*bytes*/) {}
  std::string broadcast_text(std::string text);
  template <class T>
  T broadcast_value(T value) {
    broadcast(std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  /// Returns every rank's text, in the order of ranks.
  virtual std::vector<std::string> gather(const std::string& text) { return {text}; }
  /// The same without those that are "".
  std::vector<std::string> gather_words(const std::string& text);
  /// Returns what is wrong for all ranks, of what is wrong for each, or "": `problem` if it is the
  /// same for all, else the others' names and theirs.
  std::string common_problem(const std::string& problem);
  /// The same as gather() after work in which this rank was perhaps interrupted: if one of them
  /// was, all throw Interrupted (threads.h).
  std::vector<std::string> gather_unless(bool interrupted, const std::string& text);

  /// Communication under way: it moves on when it is asked. Until it is done, its arrays are not to
  /// be touched. Several may be under way, begun in the same order on all ranks.
  class Pending {
   public:
    virtual ~Pending() = default;
    virtual bool is_done() = 0;
  };
  /// A part of an array to or from another rank.
  struct Transfer {
    int rank;
    std::span<float> values;
  };
  /// Sends and receives; of two ranks the transfers are in the same order on both. tag: tells
  /// exchanges apart that are under way at the same time.
  virtual std::unique_ptr<Pending> exchange(std::span<const Transfer> sends,
                                            std::span<const Transfer> receives, int tag = 0);
  /// Each rank has its part of `values`, rank r [begins[r], begins[r + 1]); all get all of them.
  std::unique_ptr<Pending> share(std::span<float> values, std::span<const int64_t> begins,
                                 int tag = 0);
  /// values = sum over the ranks, in an order of MPI's choice.
  virtual std::unique_ptr<Pending> add(std::span<float> values);

  /// For loops that wait for the others: a short pause. After the limit, ends all ranks. The calls
  /// above may come from another thread than the others do, but only one thread at a time calls.
  class Wait {
   public:
    explicit Wait(Ranks& ranks);
    void pause();

   private:
    Ranks& ranks_;
    const std::chrono::steady_clock::time_point begin_;
  };
  /// Waits until it is done.
  void finish(Pending& pending);

  /// Ends all ranks at once, with this exit code: the others wait for this one, which has failed.
  [[noreturn]] virtual void abort(int code);

 protected:
  Ranks(int rank, int size);

 private:
  /// Ends all ranks if this one has waited for longer than the limit.
  virtual void check_limit(std::chrono::duration<double> /*waited*/) {}

  const int rank_, size_;
  const std::string name_;
};

}  // namespace mmrec
