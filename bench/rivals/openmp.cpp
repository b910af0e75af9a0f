#include <omp.h>

#include "bench/rivals/rivals.h"

namespace mmrec::bench {

void set_openmp_threads(int threads) { omp_set_num_threads(threads); }

void plain_openmp_loop(int threads, int count, void (*body)(int argument), int argument) {
#pragma omp parallel for num_threads(threads)
  for (int i = 0; i < count; ++i) body(argument);
}

void rest_openmp() { omp_pause_resource_all(omp_pause_soft); }

}  // namespace mmrec::bench
