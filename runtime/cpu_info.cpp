#include "runtime/cpu_info.h"

#include <algorithm>
#include <fstream>
#include <sstream>

namespace mmrec {

namespace {

bool contains(const std::vector<std::string>& list, const std::string& item) { return std::find(list.begin(), list.end(), item) != list.end(); }

}  // namespace

std::string cpu_name() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown CPU";
}

#if defined(__x86_64__)

// __builtin_cpu_supports asks CPUID and XGETBV: what the CPU has and the operating system saves on a context switch.
std::vector<std::string> host_features() {
  __builtin_cpu_init();
  std::vector<std::string> features;
  if (!__builtin_cpu_supports("sse4.1")) return features;
  features.push_back("sse41");
  if (!__builtin_cpu_supports("avx")) return features;
  features.push_back("avx");
  // Every CPU with AVX2 has F16C and FMA; Halide's tiers take them together.
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return features;
  features.insert(features.end(), {"f16c", "fma", "avx2"});
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512cd")) return features;
  features.push_back("avx512");
  if (!__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512dq")) return features;
  features.push_back("avx512_skylake");
  if (!__builtin_cpu_supports("avx512ifma") || !__builtin_cpu_supports("avx512vbmi")) return features;
  features.push_back("avx512_cannonlake");
  return features;
}

std::string host_target() {
  std::string target = "x86-64-linux";
  for (const std::string& feature : host_features()) target += "-" + feature;
  return target;
}

#else

std::vector<std::string> host_features() { return {}; }
std::string host_target() { return "arm-64-linux"; }

#endif

std::vector<std::string> missing_features(const std::string& target) {
  const std::vector<std::string> have = host_features();
  std::vector<std::string> missing;
  std::istringstream parts(target);
  for (std::string part; std::getline(parts, part, '-');) {
    const bool is_instruction_set = part.starts_with("sse") || part.starts_with("avx") || part == "fma" || part == "f16c";
    if (is_instruction_set && !contains(have, part)) missing.push_back(part);
  }
  return missing;
}

}  // namespace mmrec
