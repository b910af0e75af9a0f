#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace mmrec {

/// Limits that the control groups (container, service) set for this process. An empty field means
/// no limit.
struct CgroupLimits {
  std::optional<double> cpus;     ///< CPU time quota; 1.5 means one and a half CPUs
  std::optional<int64_t> memory;  ///< bytes
};

/// Reads the limits of cgroup v1 and v2, of the process's own group and of all its visible
/// ancestors; the lowest limit wins. `root` is the directory that contains proc and sys.
CgroupLimits cgroup_limits(const std::filesystem::path& root = "/");

}  // namespace mmrec
