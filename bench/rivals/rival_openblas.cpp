#include <cblas.h>
#include <fmt/format.h>

#include "bench/rivals/rivals.h"

/// Exported by OpenBLAS for use around fork(): ends its threads. The next product starts them
/// again.
extern "C" int blas_thread_shutdown_() __attribute__((weak));

namespace mmrec::bench {

namespace {

std::function<void()> prepare(const Product& p, int threads) {
  openblas_set_num_threads(threads);
  return [p] {
    cblas_sgemm(CblasRowMajor, p.a_transposed ? CblasTrans : CblasNoTrans,
                p.b_transposed ? CblasTrans : CblasNoTrans, p.M, p.N, p.K, 1, p.a,
                p.a_transposed ? p.M : p.K, p.b, p.b_transposed ? p.K : p.N, 0, p.c, p.N);
  };
}

void rest() {
  if (blas_thread_shutdown_) blas_thread_shutdown_();
}

}  // namespace

Rival openblas() {
  const std::string config = openblas_get_config();  // "OpenBLAS 0.3.21 .."
  return {"openblas",
          fmt::format("{} for {}", config.substr(0, config.find(' ', config.find(' ') + 1)),
                      openblas_get_corename()),
          false, prepare, rest};
}

}  // namespace mmrec::bench
