#include <omp.h>

#include "bench/rivals/rivals.h"

namespace mmrec::bench {

void set_openmp_threads(int threads) { omp_set_num_threads(threads); }

void rest_openmp() { omp_pause_resource_all(omp_pause_soft); }

}  // namespace mmrec::bench
