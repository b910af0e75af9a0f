#pragma once

#include <functional>
#include <string>
#include <vector>

#include "runtime/context.h"

namespace mmrec::bench {

/// C = A B with dense row-major matrices. C is [M][N]. A is [M][K], or [K][M] if transposed. B is
/// [K][N], or [N][K] if transposed.
struct Product {
  bool a_transposed, b_transposed;
  int M, N, K;
  const float *a, *b;
  float* c;
};

/// A matrix product of another library.
struct Rival {
  const char* variant;  ///< name in the rows
  std::string about;    ///< the library's version and the instruction set that it uses
  /// Whether the library packs B into its own layout beforehand, as it may do with a layer's
  /// weights.
  bool packed_b;
  /// Does the work that many products of one shape share, and returns a function that computes one
  /// product on `threads` threads.
  std::function<void()> (*prepare)(const Product& product, int threads);
  /// Ends the library's threads, which otherwise spin long after the last call, or waits until they
  /// sleep.
  void (*rest)();
  /// What the library multiplies. With kBf16, prepare() rounds A and B to arrays of bfloat16, and a
  /// product reads only these. On a CPU without instructions for them it may fail.
  Precision precision = Precision::kFloat32;
};

/// Returns the rivals found when the build was configured, and those of wheels().
const std::vector<Rival>& rivals();

/// Returns those of the libraries that setup.sh installs which are there.
std::vector<Rival> wheels();

// Each is defined in rival_<name>.cpp.
Rival onednn();
Rival onednn_packed();
Rival onednn_sgemm();
Rival onednn_bf16();
Rival onednn_packed_bf16();
Rival openblas();
Rival eigen();

/// For rivals on OpenMP: sets the number of OpenMP's threads; ends the threads; a plain loop.
void set_openmp_threads(int threads);
void rest_openmp();
void plain_openmp_loop(int threads, int count, void (*body)(int argument), int argument);

}  // namespace mmrec::bench
