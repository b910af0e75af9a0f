#pragma once

#include <functional>
#include <string>
#include <vector>

namespace mmrec::bench {

/// C = A B of row-major matrices without gaps; C is [M][N], A is [M][K] in memory or, transposed,
/// [K][M], and B [K][N] or [N][K].
struct Product {
  bool a_transposed, b_transposed;
  int M, N, K;
  const float *a, *b;
  float* c;
};

/// Another library's matrix product.
struct Rival {
  const char* variant;  ///< in the rows' names
  std::string about;    ///< its version and the instructions that it chose
  /// True for products with a B that the library has brought into its own layout beforehand, as it
  /// may with a layer's weights.
  bool packed_b;
  /// Does what one product of a shape can do for all that follow, and returns the product, on
  /// `threads` threads.
  std::function<void()> (*prepare)(const Product& product, int threads);
  /// Ends the library's threads, which otherwise look for work long after the last call. The next
  /// call starts them again.
  void (*rest)();
};

/// Those that were found when the build was configured.
std::vector<Rival> rivals();

// rival_<name>.cpp, one each.
Rival onednn();
Rival onednn_packed();
Rival onednn_sgemm();
Rival openblas();
Rival eigen();

/// For the rivals that use it: sets the number of OpenMP's threads, and ends them.
void set_openmp_threads(int threads);
void rest_openmp();

}  // namespace mmrec::bench
