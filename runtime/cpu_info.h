#pragma once

#include <string>
#include <vector>

namespace mmrec {

/// The CPU's name as the operating system reports it.
std::string cpu_name();

/// Halide's names of the instruction sets that this CPU has and the operating system enables, in Halide's nesting (avx512
/// before avx512_skylake and so on).
std::vector<std::string> host_features();

/// The Halide target string of this machine, for example x86-64-linux-avx-avx2-f16c-fma-sse41.
std::string host_target();

/// The features of a target string that this machine lacks: kernels compiled for it would end in an illegal instruction.
std::vector<std::string> missing_features(const std::string& target);

}  // namespace mmrec
