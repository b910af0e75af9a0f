// host_target [TARGET]: prints four fields separated by semicolons: TARGET (default: this machine's
// Halide target), its ISA tier, this machine's CPU and its microarchitecture.
#include <cstdio>

#include "runtime/cpu_info.h"

int main(int argc, char** argv) {
  const std::string target = argc > 1 ? argv[1] : mmrec::host_target();
  std::printf("%s;%s;%s;%s", target.c_str(), mmrec::isa_tier(target).c_str(),
              mmrec::cpu_id().c_str(), mmrec::microarchitecture().c_str());
}
