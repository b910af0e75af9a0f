// Prints the Halide target of the machine that configures the build.
#include <cstdio>

#include "runtime/cpu_info.h"

int main() { std::puts(mmrec::host_target().c_str()); }
