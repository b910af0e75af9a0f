#include <fmt/format.h>

#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "bench/rivals/rivals.h"

namespace mmrec::bench {

namespace {

using dnnl::memory;

const dnnl::engine& engine() {
  static const dnnl::engine instance(dnnl::engine::kind::cpu, 0);
  return instance;
}

/// Describes a rows x columns matrix in row-major memory, or in column-major memory if the
/// transpose is stored.
memory::desc plain(int rows, int columns, bool transposed) {
  return {{rows, columns},
          memory::data_type::f32,
          transposed ? memory::dims{1, rows} : memory::dims{columns, 1}};
}

/// Creates the primitive once; a call only executes it. Without `pack`, B keeps its layout in
/// memory, as for the project's own kernels, and each call reorders B if oneDNN finds that faster.
std::function<void()> prepare(const Product& p, int threads, bool pack) {
  set_openmp_threads(threads);
  const memory::desc a = plain(p.M, p.K, p.a_transposed), b = plain(p.K, p.N, p.b_transposed),
                     c = plain(p.M, p.N, false);
  const memory::desc b_used =
      pack ? memory::desc({p.K, p.N}, memory::data_type::f32, memory::format_tag::any) : b;
  const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(a, b_used, c), engine());
  dnnl::stream stream(engine());
  memory weights(b, engine(), const_cast<float*>(p.b));
  if (pack && description.weights_desc() != b) {
    memory packed(description.weights_desc(), engine());
    dnnl::reorder(weights, packed).execute(stream, weights, packed);
    stream.wait();
    weights = packed;
  }
  const std::unordered_map<int, memory> arguments = {
      {DNNL_ARG_SRC, memory(a, engine(), const_cast<float*>(p.a))},
      {DNNL_ARG_WEIGHTS, weights},
      {DNNL_ARG_DST, memory(c, engine(), p.c)}};
  return [matmul = dnnl::matmul(description), stream, arguments]() mutable {
    matmul.execute(stream, arguments);
    stream.wait();
  };
}

std::function<void()> prepare_plain(const Product& product, int threads) {
  return prepare(product, threads, false);
}
std::function<void()> prepare_packed(const Product& product, int threads) {
  return prepare(product, threads, true);
}

/// oneDNN's BLAS-like product: another implementation, which is faster on some shapes.
std::function<void()> prepare_sgemm(const Product& p, int threads) {
  set_openmp_threads(threads);
  return [p] {
    dnnl::sgemm(p.a_transposed ? 'T' : 'N', p.b_transposed ? 'T' : 'N', p.M, p.N, p.K, 1, p.a,
                p.a_transposed ? p.M : p.K, p.b, p.b_transposed ? p.K : p.N, 0, p.c, p.N);
  };
}

const char* instructions() {
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::sse41:
      return "SSE4.1";
    case dnnl::cpu_isa::avx:
      return "AVX";
    case dnnl::cpu_isa::avx2:
    case dnnl::cpu_isa::avx2_vnni:
      return "AVX2";
    default:
      return "AVX-512";
  }
}

std::string about() {
  const dnnl_version_t& version = *dnnl_version();
  return fmt::format("oneDNN {}.{}.{} ({})", version.major, version.minor, version.patch,
                     instructions());
}

}  // namespace

Rival onednn() { return {"onednn", about(), false, prepare_plain, rest_openmp}; }
Rival onednn_sgemm() { return {"onednn_sgemm", about(), false, prepare_sgemm, rest_openmp}; }
Rival onednn_packed() { return {"onednn_packed", about(), true, prepare_packed, rest_openmp}; }

}  // namespace mmrec::bench
