#include "runtime/machine.h"

#include <fmt/format.h>

#include "runtime/cpu_info.h"
#include "runtime/kernel_registry.h"

namespace mmrec {

std::string describe_machine(int threads) {
  return fmt::format("{}, {} threads; kernels for {}{}, schedules: {}", cpu_name(), threads,
                     kernel_target(), kernels_have_common_bits() ? "" : ", with bits of their own",
                     kernel_schedule());
}

}  // namespace mmrec
