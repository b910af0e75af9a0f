#pragma once

namespace mmrec::bench {

/// Load of other programs that is ignored, in cores.
constexpr double kQuiet = 0.05;

/// Measures the load of other programs during a measurement. A busy neighbour slows libraries whose
/// threads spin on each other a hundredfold; such figures must be marked.
class OtherLoad {
 public:
  OtherLoad();
  /// Returns the average number of cores that other programs used since construction; 0 if the
  /// system does not tell.
  double cores() const;

 private:
  double begin_, others_;
};

}  // namespace mmrec::bench
