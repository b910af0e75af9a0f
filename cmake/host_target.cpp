// host_target [TARGET]: prints TARGET, or the Halide target of the machine that configures the build where none is given, its ISA tier,
// and this machine's CPU and microarchitecture, joined by semicolons.
#include <cstdio>

#include "runtime/cpu_info.h"

int main(int argc, char** argv) {
  const std::string target = argc > 1 ? argv[1] : mmrec::host_target();
  std::printf("%s;%s;%s;%s", target.c_str(), mmrec::isa_tier(target).c_str(), mmrec::cpu_id().c_str(), mmrec::microarchitecture().c_str());
}
