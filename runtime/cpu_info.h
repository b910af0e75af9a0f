#pragma once

#include <string>
#include <vector>

namespace mmrec {

/// The CPU's name as the operating system reports it.
std::string cpu_name();

/// Names of this CPU and of its microarchitecture, for files and tables: "amd_epyc_9r14" and
/// "amd_zen4". An unknown microarchitecture is named by numbers: "amd_family25_model17".
std::string cpu_id();
std::string microarchitecture();

/// Returns cpu_id() for a given CPU name. Drops the words that do not identify the model, such as
/// clock rate, core count and "Processor".
std::string cpu_slug(std::string name);

/// Returns the widest vector extension in a Halide target string: avx512, avx2, avx, sse41, sse2,
/// neon or rvv.
std::string isa_tier(const std::string& target);

/// Returns the instruction sets that the CPU has and the operating system enables. Halide's names,
/// in Halide's nesting order (avx512 before avx512_skylake and so on).
std::vector<std::string> host_features();

/// Whether this machine has AVX-512's instructions for bfloat16, and what Halide takes for granted
/// on a CPU that has them.
bool offers_avx512_bf16();

/// The Halide target string of this machine, for example x86-64-linux-avx-avx2-f16c-fma-sse41.
std::string host_target();

/// Returns the features of a target string that this machine lacks. Kernels compiled for them would
/// raise SIGILL.
std::vector<std::string> missing_features(const std::string& target);

}  // namespace mmrec
