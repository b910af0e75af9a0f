#pragma once

#include <string>
#include <vector>

namespace mmrec {

/// The CPU's name as the operating system reports it.
std::string cpu_name();

/// Names of this CPU and of its kind of cores, for files and tables: "amd_epyc_9r14", "amd_zen4". Of cores that are not known
/// here the second has numbers, "amd_family25_model17".
std::string cpu_id();
std::string microarchitecture();

/// cpu_id() of a CPU that reports this name: without what says nothing about the model.
std::string cpu_slug(std::string name);

/// The widest vector instructions of a Halide target: avx512, avx2, avx, sse41, sse2 or neon.
std::string isa_tier(const std::string& target);

/// Halide's names of the instruction sets that this CPU has and the operating system enables, in Halide's nesting (avx512
/// before avx512_skylake and so on).
std::vector<std::string> host_features();

/// The Halide target string of this machine, for example x86-64-linux-avx-avx2-f16c-fma-sse41.
std::string host_target();

/// The features of a target string that this machine lacks: kernels compiled for it would end in an illegal instruction.
std::vector<std::string> missing_features(const std::string& target);

}  // namespace mmrec
