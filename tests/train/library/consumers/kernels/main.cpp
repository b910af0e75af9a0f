// A program that computes with the kernels, on its own memory and its own threads, and that has a
// runtime of Halide of its own.
#include <mmrec/kernels.h>
#include <mmrec/runtime.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

extern "C" {
[[noreturn]] void halide_error(void*, const char*) { std::abort(); }
[[noreturn]] void* halide_malloc(void*, size_t) { std::abort(); }
[[noreturn]] void halide_free(void*, void*) { std::abort(); }
[[noreturn]] int halide_do_par_for(void*, int (*)(void*, int, uint8_t*), int, int, uint8_t*) {
  std::abort();
}
[[noreturn]] void halide_set_error_handler(void*) { std::abort(); }
[[noreturn]] void mmrec_gemm_packed_nn_argv(void**) { std::abort(); }
}

namespace {

using mmrec::Tensor;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

/// y[r,t,d] = prod_{i <= t} x[r,i,d], and its gradient for dy = 1.
void scan() {
  const int R = 3, T = 37, D = 5;
  const size_t count = R * T * D;
  std::vector<float> x(count), y(count), dy(count, 1.f), dx(count);
  for (size_t i = 0; i < count; ++i) x[i] = 0.9f + 0.1f * static_cast<float>(i % 7) / 7;
  const auto view = [](std::vector<float>& values) { return Tensor(values.data(), {R, T, D}); };
  mmrec::ops::scan_forward(view(x), view(y));
  mmrec::ops::scan_backward(view(dy), view(x), view(y), view(dx));
  for (int r = 0; r < R; ++r)
    for (int d = 0; d < D; ++d) {
      double product = 1, sum = 0;
      for (int t = 0; t < T; ++t) {
        const size_t i = (r * T + t) * D + d;
        product *= x[i];
        sum += product;
        require(std::abs(y[i] - product) < 1e-5 * product, "scan_forward is wrong");
      }
      const size_t first = r * T * D + d;
      require(std::abs(dx[first] - sum / x[first]) < 1e-4 * sum, "scan_backward is wrong");
    }
}

/// C = A B, where A is a part of a wider array.
void gemm() {
  const int M = 40, K = 33, N = 50, wide = 64;
  std::vector<float> a(M * wide), b(K * N), c(M * N);
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i % 11) - 5;
  for (size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(i % 13) - 6;
  const Tensor part = Tensor(a.data(), {M, wide}).columns(10, 10 + K);
  mmrec::ops::gemm_nn(part, Tensor(b.data(), {K, N}), Tensor(c.data(), {M, N}));
  for (int m = 0; m < M; ++m)
    for (int n = 0; n < N; ++n) {
      float sum = 0;  // exact: all are small whole numbers
      for (int k = 0; k < K; ++k) sum += a[m * wide + 10 + k] * b[k * N + n];
      require(c[m * N + n] == sum, "gemm_nn is wrong");
    }
}

void wrong_use() {
  std::vector<float> memory(16);
  const Tensor square(memory.data(), {4, 4}), row(memory.data(), {1, 4});
  try {
    mmrec::ops::gemm_nn(square, row, square);
  } catch (const mmrec::Error& error) {
    require(std::strstr(error.what(), "[4,4]") || std::strstr(error.what(), "[1,4]"), error.what());
    return;
  }
  require(false, "a wrong shape was not refused");
}

}  // namespace

int main() {
  require(std::string_view(mmrec_version()) == MMREC_VERSION, "the header is of another version");
  const int numbers[] = {MMREC_VERSION_MAJOR, MMREC_VERSION_MINOR, MMREC_VERSION_PATCH};
  std::string version;
  for (const int number : numbers) version += (version.empty() ? "" : ".") + std::to_string(number);
  require(version == MMREC_VERSION, "the version's numbers are others");
  // Threads of the program, each with a context in which it computes alone.
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i)
    threads.emplace_back([] {
      mmrec::Context context;
      const mmrec::Context::Use use(context);
      mmrec::set_num_threads(1);
      for (int repeat = 0; repeat < 20; ++repeat) {
        scan();
        gemm();
      }
    });
  for (std::thread& thread : threads) thread.join();
  // Threads of the library.
  mmrec::set_num_threads(2);
  scan();
  gemm();
  wrong_use();
  std::puts("kernels: as expected");
}
