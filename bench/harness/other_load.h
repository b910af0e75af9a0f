#pragma once

namespace mmrec::bench {

/// Cores that other programs may take without being noticed.
constexpr double kQuiet = 0.05;

/// What other programs take of this machine while something is measured. Libraries whose threads
/// wait for each other in loops fall to a hundredth of their speed beside a busy neighbour; such
/// figures must not pass for theirs.
class OtherLoad {
 public:
  OtherLoad();
  /// Cores' worth of CPU time since the construction, on average; 0 where the system does not tell.
  double cores() const;

 private:
  double begin_, others_;
};

}  // namespace mmrec::bench
