#include "runtime/machine.h"

#include <fmt/format.h>

#include "runtime/cpu_info.h"
#include "runtime/kernel_registry.h"
#include "support/counted.h"

namespace mmrec {

std::string describe_machine(int threads) {
  return fmt::format("{}, {}; kernels for {}{}, schedules: {}", cpu_name(),
                     counted(threads, "thread"), kernel_target(),
                     kernels_have_common_bits() ? "" : ", with bits of their own",
                     kernel_schedule());
}

}  // namespace mmrec
