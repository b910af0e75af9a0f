// host_target [TARGET..]: prints fields separated by semicolons: this machine's CPU, its
// microarchitecture, and for each TARGET (default: this machine's Halide target) it and its ISA
// tier.
#include <cstdio>
#include <string>
#include <vector>

#include "runtime/cpu_info.h"

int main(int argc, char** argv) {
  std::vector<std::string> targets(argv + 1, argv + argc);
  if (targets.empty()) targets.push_back(mmrec::host_target());
  std::printf("%s;%s", mmrec::cpu_id().c_str(), mmrec::microarchitecture().c_str());
  for (const std::string& target : targets)
    std::printf(";%s;%s", target.c_str(), mmrec::isa_tier(target).c_str());
}
