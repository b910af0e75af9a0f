#include <dlfcn.h>
#include <fmt/format.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <thread>

#include "bench/rivals/rivals.h"

namespace mmrec::bench {

namespace {

namespace fs = std::filesystem;

/// cblas_sgemm of one library. The numbers are those of every cblas.h.
using Sgemm = void (*)(int order, int transpose_a, int transpose_b, int m, int n, int k,
                       float alpha, const float* a, int lda, const float* b, int ldb, float beta,
                       float* c, int ldc);
constexpr int kRowMajor = 101, kNoTranspose = 111, kTranspose = 112;

/// A library that setup.sh has installed, or nothing.
class Library {
 public:
  /// `file` is below .venv-products/lib, or below a folder of packages in it.
  explicit Library(const std::string& file) {
    const fs::path lib = fs::path(MMREC_SOURCE_DIR) / ".venv-products/lib";
    std::error_code ignored;
    std::vector<fs::path> places = {lib / file};
    for (const fs::directory_entry& entry : fs::directory_iterator(lib, ignored))
      places.push_back(entry.path() / "site-packages" / file);
    for (const fs::path& place : places)
      if (!handle_ && fs::exists(place, ignored))
        handle_ = ::dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
  }
  explicit operator bool() const { return handle_; }
  template <class Function>
  Function find(const char* name) const {
    return reinterpret_cast<Function>(::dlsym(handle_, name));
  }

 private:
  void* handle_ = nullptr;
};

std::function<void()> product(Sgemm sgemm, const Product& p) {
  return [=] {
    sgemm(kRowMajor, p.a_transposed ? kTranspose : kNoTranspose,
          p.b_transposed ? kTranspose : kNoTranspose, p.M, p.N, p.K, 1, p.a,
          p.a_transposed ? p.M : p.K, p.b, p.b_transposed ? p.K : p.N, 0, p.c, p.N);
  };
}

const Library& mkl_library() {
  static const Library library("libmkl_rt.so.3");
  return library;
}

std::function<void()> prepare_mkl(const Product& p, int threads) {
  mkl_library().find<void (*)(int)>("MKL_Set_Num_Threads")(threads);
  return product(mkl_library().find<Sgemm>("cblas_sgemm"), p);
}

const Library& openblas_library() {
  static const Library library = [] {
    // Its threads cannot be ended. They wait for work for 2^24 cycles of the clock, some 7 ms,
    // instead of 2^28, then sleep.
    ::setenv("OPENBLAS_THREAD_TIMEOUT", "24", 0);
    return Library("scipy_openblas32/lib/libscipy_openblas.so");
  }();
  return library;
}

std::function<void()> prepare_openblas(const Product& p, int threads) {
  openblas_library().find<void (*)(int)>("scipy_openblas_set_num_threads")(threads);
  return product(openblas_library().find<Sgemm>("scipy_cblas_sgemm"), p);
}

/// Waits until the process takes no CPU time: then its threads sleep.
void rest_openblas() {
  constexpr std::chrono::milliseconds kInterval(1);
  constexpr int kMostIntervals = 200;
  constexpr double kIdle = 0.1;  // of an interval
  for (int i = 0; i < kMostIntervals; ++i) {
    const std::clock_t before = std::clock();
    std::this_thread::sleep_for(kInterval);
    const std::chrono::duration<double> used(static_cast<double>(std::clock() - before) /
                                             CLOCKS_PER_SEC);
    if (used < kIdle * kInterval) return;
  }
}

}  // namespace

std::vector<Rival> wheels() {
  std::vector<Rival> found;
#if defined(MMREC_OPENMP)
  if (mkl_library()) {
    constexpr int kGnuThreads = 3;
    mkl_library().find<int (*)(int)>("MKL_Set_Threading_Layer")(kGnuThreads);
    std::array<char, 200> version{};
    mkl_library().find<void (*)(char*, int)>("MKL_Get_Version_String")(version.data(),
                                                                       version.size() - 1);
    const std::string about = version.data();
    found.push_back(
        {"mkl", about.substr(0, about.find("-Product")), false, prepare_mkl, rest_openmp});
  }
#endif
  if (openblas_library()) {
    const std::string config =
        openblas_library().find<const char* (*)()>("scipy_openblas_get_config")();
    found.push_back(
        {"openblas_wheel",
         fmt::format("{} for {}", config.substr(0, config.find(' ', config.find(' ') + 1)),
                     openblas_library().find<const char* (*)()>("scipy_openblas_get_corename")()),
         false, prepare_openblas, rest_openblas});
  }
  return found;
}

}  // namespace mmrec::bench
