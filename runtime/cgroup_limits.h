#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace mmrec {

/// What the control groups of this process (a container's, a service's) let it have; nothing where they set no limit.
struct CgroupLimits {
  std::optional<double> cpus;     ///< a quota of CPU time: 1.5 is a CPU and a half
  std::optional<int64_t> memory;  ///< bytes
};

/// Of versions 1 and 2, and of the groups around the process's own as far as they can be seen from here. `root`: where proc and sys are.
CgroupLimits cgroup_limits(const std::filesystem::path& root = "/");

}  // namespace mmrec
