#include <dlfcn.h>
#include <fmt/format.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "bench/rivals/rivals.h"
#include "support/error.h"

namespace mmrec::bench {

namespace {

namespace fs = std::filesystem;

/// cblas_sgemm of one library. The numbers are those of every cblas.h.
using Sgemm = void (*)(int order, int transpose_a, int transpose_b, int m, int n, int k,
                       float alpha, const float* a, int lda, const float* b, int ldb, float beta,
                       float* c, int ldc);
constexpr int kRowMajor = 101, kNoTranspose = 111, kTranspose = 112;

/// Returns where `file` is: below .venv-products/lib, or below a folder of packages in it. Empty if
/// setup.sh has not installed it.
fs::path place_of(const std::string& file) {
  const fs::path lib = fs::path(MMREC_SOURCE_DIR) / ".venv-products/lib";
  std::error_code ignored;
  if (fs::exists(lib / file, ignored)) return lib / file;
  for (const fs::directory_entry& entry : fs::directory_iterator(lib, ignored))
    if (const fs::path place = entry.path() / "site-packages" / file; fs::exists(place, ignored))
      return place;
  return {};
}

/// A library that setup.sh has installed, or nothing.
class Library {
 public:
  explicit Library(const std::string& file) {
    if (const fs::path place = place_of(file); !place.empty())
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

/// Waits until the process takes no CPU time: then its threads sleep.
void rest_until_idle() {
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

const Library& tbb_library() {
  static const Library library("libtbb.so.12");
  return library;
}

/// Limits oneTBB, whose threads oneDNN's are, as tbb::global_control does.
void set_tbb_threads(int threads) {
  struct Control {
    std::size_t most_threads;
    std::intptr_t reserved;
    int parameter;  // 0: the number of threads
  };
  using Change = void (*)(Control&);
  static Control control = {};
  if (control.most_threads)
    tbb_library().find<Change>("_ZN3tbb6detail2r17destroyERNS0_2d114global_controlE")(control);
  control.most_threads = static_cast<std::size_t>(threads);
  tbb_library().find<Change>("_ZN3tbb6detail2r16createERNS0_2d114global_controlE")(control);
}

const Library& onednn_library() {
  static const Library library = [] {
    // It names the libraries that it needs without their folder. Those that are loaded it finds.
    tbb_library();
    for (const char* needed : {"libintlc.so.5", "libimf.so", "libsvml.so", "libsycl.so.9"})
      Library{needed};
    // It reaches the CPU through OpenCL, whose loader looks for drivers in /etc else.
    ::setenv("OCL_ICD_FILENAMES", place_of("libintelocl.so").c_str(), 0);
    return Library("libdnnl.so.3");
  }();
  return library;
}

constexpr int kOneDnnCpu = 1;  // dnnl_cpu; the other numbers are dnnl.h's, too
constexpr int kOneDnnDimensions = 2;
using OneDnnSizes = std::array<std::int64_t, 12>;

void succeed(const char* function, int status) {
  if (status) fail("oneDNN's {} failed: status {}", function, status);
}

/// An object of oneDNN's C interface.
using OneDnn = std::shared_ptr<void>;

template <class... Arguments>
OneDnn make_onednn(const char* create, const char* destroy, Arguments... arguments) {
  void* made = nullptr;
  succeed(create,
          onednn_library().find<int (*)(void**, Arguments...)>(create)(&made, arguments...));
  return {made, onednn_library().find<int (*)(void*)>(destroy)};
}

const OneDnn& onednn_engine() {
  static const OneDnn engine =
      make_onednn("dnnl_engine_create", "dnnl_engine_destroy", kOneDnnCpu, std::size_t{0});
  return engine;
}

const OneDnn& onednn_stream() {
  constexpr unsigned kInOrder = 1;
  static const OneDnn stream =
      make_onednn("dnnl_stream_create", "dnnl_stream_destroy", onednn_engine().get(), kInOrder);
  return stream;
}

/// Types of elements.
enum class OneDnnType { kBf16 = 2, kFloat = 3 };

/// Describes a rows x columns matrix in row-major memory, or in column-major memory if the
/// transpose is stored.
OneDnn plain(OneDnnType type, int rows, int columns, bool transposed) {
  const OneDnnSizes sizes = {rows, columns},
                    strides = {transposed ? 1 : columns, transposed ? rows : 1};
  return make_onednn("dnnl_memory_desc_create_with_strides", "dnnl_memory_desc_destroy",
                     kOneDnnDimensions, sizes.data(), type, strides.data());
}

/// Describes a matrix in the layout that a primitive prefers.
OneDnn any_layout(OneDnnType type, int rows, int columns) {
  constexpr int kAny = 1;
  const OneDnnSizes sizes = {rows, columns};
  return make_onednn("dnnl_memory_desc_create_with_tag", "dnnl_memory_desc_destroy",
                     kOneDnnDimensions, sizes.data(), type, kAny);
}

/// `data`: null for memory of its own.
OneDnn memory(const void* description, const float* data) {
  void* const own = reinterpret_cast<void*>(~std::uintptr_t{0});  // DNNL_MEMORY_ALLOCATE
  return make_onednn("dnnl_memory_create", "dnnl_memory_destroy", description,
                     onednn_engine().get(), data ? const_cast<float*>(data) : own);
}

/// An argument of a primitive.
struct OneDnnArgument {
  int number;
  void* memory;
};
constexpr int kSource = 1, kWeights = 33, kDestination = 17;

/// A primitive that is executed with the same arguments again and again.
class OneDnnPrimitive {
 public:
  OneDnnPrimitive(const OneDnn& description, std::vector<std::pair<int, OneDnn>> arguments)
      : primitive_(
            make_onednn("dnnl_primitive_create", "dnnl_primitive_destroy", description.get())),
        owned_(std::move(arguments)) {
    for (const auto& [number, memory] : owned_) arguments_.push_back({number, memory.get()});
  }
  void operator()() const {
    succeed("dnnl_primitive_execute",
            execute_(primitive_.get(), onednn_stream().get(), static_cast<int>(arguments_.size()),
                     arguments_.data()));
    succeed("dnnl_stream_wait", wait_(onednn_stream().get()));
  }

 private:
  OneDnn primitive_;
  std::vector<std::pair<int, OneDnn>> owned_;
  std::vector<OneDnnArgument> arguments_;
  int (*execute_)(void*, void*, int, const OneDnnArgument*) =
      onednn_library().find<decltype(execute_)>("dnnl_primitive_execute");
  int (*wait_)(void*) = onednn_library().find<decltype(wait_)>("dnnl_stream_wait");
};

/// Returns a matrix as a description wants it: where it is, or a copy.
OneDnn as_wanted(const void* wanted, const OneDnn& stored, const float* data) {
  const OneDnn original = memory(stored.get(), data);
  if (onednn_library().find<int (*)(const void*, const void*)>("dnnl_memory_desc_equal")(
          wanted, stored.get()))
    return original;
  const OneDnn copy = memory(wanted, nullptr);
  void* const none = nullptr;
  const OneDnn reorder = make_onednn(
      "dnnl_reorder_primitive_desc_create", "dnnl_primitive_desc_destroy",
      static_cast<const void*>(stored.get()), onednn_engine().get(), wanted, onednn_engine().get(),
      /*attributes=*/none);
  OneDnnPrimitive(reorder, {{kSource, original}, {kDestination, copy}})();
  return copy;
}

OneDnn float_a(const Product& p) { return plain(OneDnnType::kFloat, p.M, p.K, p.a_transposed); }
OneDnn float_b(const Product& p) { return plain(OneDnnType::kFloat, p.K, p.N, p.b_transposed); }

/// Creates the primitive once; a call only executes it. Without `pack`, B keeps its layout in
/// memory, as for the project's own kernels.
template <OneDnnType type, bool pack>
std::function<void()> prepare_onednn(const Product& p, int threads) {
  set_tbb_threads(threads);
  void* const none = nullptr;
  const OneDnn a = plain(type, p.M, p.K, p.a_transposed),
               b = pack ? any_layout(type, p.K, p.N) : plain(type, p.K, p.N, p.b_transposed),
               c = plain(OneDnnType::kFloat, p.M, p.N, false);
  const OneDnn description = make_onednn(
      "dnnl_matmul_primitive_desc_create", "dnnl_primitive_desc_destroy", onednn_engine().get(),
      a.get(), b.get(), /*bias=*/none, c.get(), /*attributes=*/none);
  constexpr int kWeightsOf = 131;  // dnnl_query_weights_md
  const void* const b_used = onednn_library().find<const void* (*)(void*, int, int)>(
      "dnnl_primitive_desc_query_md")(description.get(), kWeightsOf, 0);
  return OneDnnPrimitive(description, {{kSource, as_wanted(a.get(), float_a(p), p.a)},
                                       {kWeights, as_wanted(b_used, float_b(p), p.b)},
                                       {kDestination, memory(c.get(), p.c)}});
}

/// Its BLAS-like product of bfloat16 factors, without the queue. The library exports it for its
/// tests.
using Bf16Gemm = int (*)(char, char, std::int64_t M, std::int64_t N, std::int64_t K, float alpha,
                         const void* a, std::int64_t lda, const void* b, std::int64_t ldb,
                         float beta, float* c, std::int64_t ldc);
Bf16Gemm onednn_bf16_gemm() { return onednn_library().find<Bf16Gemm>("dnnl_gemm_bf16bf16f32"); }

std::function<void()> prepare_onednn_bf16_gemm(const Product& p, int threads) {
  set_tbb_threads(threads);
  const OneDnn a = as_wanted(plain(OneDnnType::kBf16, p.M, p.K, p.a_transposed).get(), float_a(p),
                             p.a),
               b = as_wanted(plain(OneDnnType::kBf16, p.K, p.N, p.b_transposed).get(), float_b(p),
                             p.b);
  const auto elements = [](const OneDnn& memory) {
    void* place = nullptr;
    succeed("dnnl_memory_get_data_handle",
            onednn_library().find<int (*)(void*, void**)>("dnnl_memory_get_data_handle")(
                memory.get(), &place));
    return place;
  };
  // it holds a and b, which own the elements
  return [p, a, b, a_elements = elements(a), b_elements = elements(b), gemm = onednn_bf16_gemm()] {
    succeed("dnnl_gemm_bf16bf16f32", gemm(p.a_transposed ? 'T' : 'N', p.b_transposed ? 'T' : 'N',
                                          p.M, p.N, p.K, 1, a_elements, p.a_transposed ? p.M : p.K,
                                          b_elements, p.b_transposed ? p.K : p.N, 0, p.c, p.N));
  };
}

/// oneDNN's BLAS-like product, which does without an engine.
std::function<void()> prepare_onednn_sgemm(const Product& p, int threads) {
  set_tbb_threads(threads);
  using Size = std::int64_t;
  const auto sgemm = onednn_library()
                         .find<int (*)(char, char, Size, Size, Size, float, const float*, Size,
                                       const float*, Size, float, float*, Size)>("dnnl_sgemm");
  return [=] {
    succeed("dnnl_sgemm",
            sgemm(p.a_transposed ? 'T' : 'N', p.b_transposed ? 'T' : 'N', p.M, p.N, p.K, 1, p.a,
                  p.a_transposed ? p.M : p.K, p.b, p.b_transposed ? p.K : p.N, 0, p.c, p.N));
  };
}

std::string about_onednn() {
  struct Version {
    int major, minor, patch;
  };
  constexpr int kAvx2 = 4, kAvx512 = 32;  // bits
  const auto& version = *onednn_library().find<const Version* (*)()>("dnnl_version")();
  const int instructions = onednn_library().find<int (*)()>("dnnl_get_effective_cpu_isa")();
  return fmt::format("oneDNN {}.{}.{} ({})", version.major, version.minor, version.patch,
                     instructions & kAvx512 ? "AVX-512"
                     : instructions & kAvx2 ? "AVX2"
                                            : "SSE4.1");
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
         false, prepare_openblas, rest_until_idle});
  }
  if (onednn_library()) {
    const std::string about = about_onednn();
    // Its engine needs OpenCL's driver for CPUs.
    if (onednn_library().find<std::size_t (*)(int)>("dnnl_engine_get_count")(kOneDnnCpu)) {
      found.push_back({"onednn_wheel", about, false, prepare_onednn<OneDnnType::kFloat, false>,
                       rest_until_idle});
      found.push_back({"onednn_wheel", about, false, prepare_onednn<OneDnnType::kBf16, false>,
                       rest_until_idle, Precision::kBf16});
      found.push_back({"onednn_wheel_packed", about, true, prepare_onednn<OneDnnType::kBf16, true>,
                       rest_until_idle, Precision::kBf16});
      if (onednn_bf16_gemm())
        found.push_back({"onednn_wheel_gemm", about, false, prepare_onednn_bf16_gemm,
                         rest_until_idle, Precision::kBf16});
    }
    found.push_back({"onednn_wheel_sgemm", about, false, prepare_onednn_sgemm, rest_until_idle});
  }
  return found;
}

}  // namespace mmrec::bench
