#include "train/machine.h"

#include <fmt/format.h>

#include "runtime/cpu_info.h"
#include "runtime/kernel_registry.h"
#include "runtime/threads.h"

namespace mmrec {

std::string describe_machine() {
  return fmt::format("{}, {} threads; kernels for {}, schedules: {}", cpu_name(), num_threads(), kernel_target(), kernel_schedule());
}

}  // namespace mmrec
