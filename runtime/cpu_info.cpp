#include "runtime/cpu_info.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__riscv)
#include <sys/auxv.h>
#endif

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <regex>
#include <span>
#include <sstream>

namespace mmrec {

namespace {

bool contains(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

/// Returns a field of the first processor in /proc/cpuinfo, or "" if the field does not exist.
std::string cpuinfo_field(const std::string& name) {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);)
    if (const size_t colon = line.find(':'); line.starts_with(name) && colon + 2 < line.size())
      return line.substr(colon + 2);
  return "";
}

/// Splits a target string at its hyphens.
std::vector<std::string> parts(const std::string& target) {
  std::vector<std::string> result;
  std::istringstream list(target);
  for (std::string part; std::getline(list, part, '-');) result.push_back(part);
  return result;
}

/// Returns lower-case words of letters and digits, joined by underscores.
std::string slug(const std::string& text) {
  std::string result;
  for (const unsigned char c : text) {
    if (std::isalnum(c))
      result += static_cast<char>(std::tolower(c));
    else if (!result.empty() && result.back() != '_')
      result += '_';
  }
  while (result.ends_with('_')) result.pop_back();
  return result;
}

/// Maps a range of models in a CPU family (Intel, AMD), or of parts of an implementer (Arm), to the
/// name of the microarchitecture.
struct Cores {
  int family, first, last;
  const char* name;
};

[[maybe_unused]] const char* find_cores(std::span<const Cores> known, int family, int model) {
  const auto found = std::ranges::find_if(known, [&](const Cores& c) {
    return c.family == family && c.first <= model && model <= c.last;
  });
  return found == known.end() ? nullptr : found->name;
}

}  // namespace

std::string cpu_name() {
  const std::string name = cpuinfo_field("model name");
  return name.empty() ? "unknown CPU" : name;
}

std::string cpu_slug(std::string name) {
  // "Intel(R) Xeon(R) Platinum 8488C CPU @ 2.40GHz", "AMD EPYC 7763 64-Core Processor",
  // "AMD Ryzen 7 7840U w/ Radeon 780M Graphics"
  name = name.substr(0, std::min(name.find(" @ "), name.find(" w/ ")));
  name = std::regex_replace(name, std::regex(R"(\(\w+\)|\b\d+-Core\b|\bProcessor\b|\bCPU\b)"), " ");
  return slug(name);
}

#if defined(__x86_64__)

std::string cpu_id() { return cpu_slug(cpu_name()); }

std::string microarchitecture() {
  static constexpr Cores kAmd[] = {
      {0x17, 0x00, 0x07, "zen"},      {0x17, 0x08, 0x08, "zen_plus"}, {0x17, 0x10, 0x17, "zen"},
      {0x17, 0x18, 0x18, "zen_plus"}, {0x17, 0x20, 0x2f, "zen"},      {0x17, 0x30, 0xff, "zen2"},
      {0x19, 0x00, 0x0f, "zen3"},     {0x19, 0x10, 0x1f, "zen4"},     {0x19, 0x20, 0x5f, "zen3"},
      {0x19, 0x60, 0xaf, "zen4"},     {0x1a, 0x00, 0x7f, "zen5"}};
  static constexpr Cores kIntel[] = {
      {6, 0x2a, 0x2a, "sandybridge"},    {6, 0x2d, 0x2d, "sandybridge"},
      {6, 0x3a, 0x3a, "ivybridge"},      {6, 0x3e, 0x3e, "ivybridge"},
      {6, 0x3c, 0x3c, "haswell"},        {6, 0x3f, 0x3f, "haswell"},
      {6, 0x45, 0x46, "haswell"},        {6, 0x3d, 0x3d, "broadwell"},
      {6, 0x47, 0x47, "broadwell"},      {6, 0x4f, 0x4f, "broadwell"},
      {6, 0x56, 0x56, "broadwell"},      {6, 0x4e, 0x4e, "skylake"},
      {6, 0x5e, 0x5e, "skylake"},        {6, 0x8e, 0x8e, "skylake"},
      {6, 0x9e, 0x9e, "skylake"},        {6, 0xa5, 0xa6, "skylake"},
      {6, 0x55, 0x55, "skylake_avx512"}, {6, 0x6a, 0x6a, "icelake"},
      {6, 0x6c, 0x6c, "icelake"},        {6, 0x7d, 0x7e, "icelake"},
      {6, 0x8c, 0x8d, "tigerlake"},      {6, 0x97, 0x97, "alderlake"},
      {6, 0x9a, 0x9a, "alderlake"},      {6, 0xb7, 0xb7, "raptorlake"},
      {6, 0xba, 0xba, "raptorlake"},     {6, 0xbf, 0xbf, "raptorlake"},
      {6, 0x8f, 0x8f, "sapphirerapids"}, {6, 0xcf, 0xcf, "emeraldrapids"},
      {6, 0xad, 0xae, "graniterapids"},  {6, 0xaa, 0xaa, "meteorlake"},
      {6, 0xac, 0xac, "meteorlake"}};
  unsigned a = 0, b = 0, c = 0, d = 0;
  char name[13] = {};
  __get_cpuid(0, &a, reinterpret_cast<unsigned*>(name), reinterpret_cast<unsigned*>(name + 8),
              reinterpret_cast<unsigned*>(name + 4));
  const std::string vendor = std::string(name) == "AuthenticAMD"   ? "amd"
                             : std::string(name) == "GenuineIntel" ? "intel"
                                                                   : slug(name);
  __get_cpuid(1, &a, &b, &c, &d);
  const int base_family = a >> 8 & 0xf,
            family = base_family + (base_family == 0xf ? a >> 20 & 0xff : 0);
  const int model = (a >> 4 & 0xf) + (base_family == 0xf || base_family == 6 ? a >> 12 & 0xf0 : 0);
  const char* cores = vendor == "amd"     ? find_cores(kAmd, family, model)
                      : vendor == "intel" ? find_cores(kIntel, family, model)
                                          : nullptr;
  return vendor + "_" +
         (cores ? cores : "family" + std::to_string(family) + "_model" + std::to_string(model));
}

// __builtin_cpu_supports reads CPUID and XGETBV: features that the CPU has and whose registers the
// operating system saves on a context switch.
std::vector<std::string> host_features() {
  __builtin_cpu_init();
  std::vector<std::string> features;
  if (!__builtin_cpu_supports("sse4.1")) return features;
  features.push_back("sse41");
  if (!__builtin_cpu_supports("avx")) return features;
  features.push_back("avx");
  // Every CPU with AVX2 has F16C and FMA. Halide's feature levels require all three.
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return features;
  features.insert(features.end(), {"f16c", "fma", "avx2"});
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512cd")) return features;
  features.push_back("avx512");
  if (!__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq"))
    return features;
  features.push_back("avx512_skylake");
  if (!__builtin_cpu_supports("avx512ifma") || !__builtin_cpu_supports("avx512vbmi"))
    return features;
  features.push_back("avx512_cannonlake");
  return features;
}

bool offers_avx512_bf16() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni") &&
         __builtin_cpu_supports("avx512bitalg") && __builtin_cpu_supports("avx512vpopcntdq") &&
         __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("gfni");
}

std::string host_target() {
  std::string target = "x86-64-linux";
  for (const std::string& feature : host_features()) target += "-" + feature;
  return target;
}

#elif defined(__riscv)

std::string microarchitecture() { return slug("riscv " + cpuinfo_field("uarch")); }
std::string cpu_id() { return microarchitecture(); }

std::vector<std::string> host_features() {
  std::vector<std::string> features;
  if ((::getauxval(AT_HWCAP) >> ('V' - 'A') & 1) == 0) return features;
  features.push_back("rvv");
  uint64_t register_bytes;
  asm volatile("csrr %0, 0xc22" : "=r"(register_bytes));  // vlenb
  if (register_bytes >= 32) features.push_back("vector_bits_256");
  return features;
}

std::string host_target() { return "riscv-64-linux-rvv-vector_bits_256"; }

#else

// Linux gives no model name on Arm, only the implementer's and the part's numbers.
std::string microarchitecture() {
  constexpr int kArm = 0x41;
  static constexpr Cores kParts[] = {
      {kArm, 0xd08, 0xd08, "cortex_a72"},  {kArm, 0xd0b, 0xd0b, "cortex_a76"},
      {kArm, 0xd0c, 0xd0c, "neoverse_n1"}, {kArm, 0xd40, 0xd40, "neoverse_v1"},
      {kArm, 0xd49, 0xd49, "neoverse_n2"}, {kArm, 0xd4f, 0xd4f, "neoverse_v2"}};
  const std::string implementer = cpuinfo_field("CPU implementer"),
                    part = cpuinfo_field("CPU part");
  const char* cores = find_cores(kParts, std::strtol(implementer.c_str(), nullptr, 16),
                                 std::strtol(part.c_str(), nullptr, 16));
  return cores ? std::string("arm_") + cores
               : slug("arm implementer" + implementer + " part" + part);
}

std::string cpu_id() {
  const std::string name = cpuinfo_field("model name");
  return name.empty() ? microarchitecture() : cpu_slug(name);
}

std::vector<std::string> host_features() { return {}; }
std::string host_target() { return "arm-64-linux"; }

#endif

#if !defined(__x86_64__)
bool offers_avx512_bf16() { return false; }
#endif

std::string isa_tier(const std::string& target) {
  std::vector<std::string> features = parts(target);
  for (std::string& feature : features)
    if (feature.starts_with("avx512")) feature = "avx512";
  for (const char* tier : {"avx512", "avx2", "avx", "sse41"})
    if (contains(features, tier)) return tier;
  const std::string& architecture = features.front();
  return architecture == "arm" ? "neon" : architecture == "riscv" ? "rvv" : "sse2";
}

std::vector<std::string> missing_features(const std::string& target) {
  const std::vector<std::string> have = host_features();
  std::vector<std::string> missing;
  for (const std::string& part : parts(target)) {
    const bool is_instruction_set = part.starts_with("sse") || part.starts_with("avx") ||
                                    part == "fma" || part == "f16c" || part == "rvv" ||
                                    part.starts_with("vector_bits");
    if (is_instruction_set && !contains(have, part)) missing.push_back(part);
  }
  return missing;
}

}  // namespace mmrec
