#include "bench/harness/other_load.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>

namespace mmrec::bench {

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Returns the CPU time of all other processes since boot, in seconds. Includes time that a virtual
/// machine's host did not give to this machine.
double others_seconds() {
  std::ifstream file("/proc/stat");
  std::string cpu;
  double user = 0, nice = 0, system = 0, idle = 0, waiting = 0, interrupts = 0, soft_interrupts = 0,
         stolen = 0;
  if (!(file >> cpu >> user >> nice >> system >> idle >> waiting >> interrupts >> soft_interrupts >>
        stolen))
    return 0;
  rusage own{};
  getrusage(RUSAGE_SELF, &own);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return (user + nice + system + interrupts + soft_interrupts + stolen) /
             static_cast<double>(sysconf(_SC_CLK_TCK)) -
         seconds(own.ru_utime) - seconds(own.ru_stime);
}

}  // namespace

OtherLoad::OtherLoad() : begin_(now()), others_(others_seconds()) {}

double OtherLoad::cores() const {
  return std::max(0., (others_seconds() - others_) / (now() - begin_));
}

}  // namespace mmrec::bench
