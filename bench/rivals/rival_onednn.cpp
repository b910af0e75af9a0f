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
memory::desc plain(memory::data_type type, int rows, int columns, bool transposed) {
  return {{rows, columns}, type, transposed ? memory::dims{1, rows} : memory::dims{columns, 1}};
}

/// Returns a factor as the primitive wants it: where it is, or a copy.
memory factor(const memory::desc& stored, const float* data, const memory::desc& wanted,
              dnnl::stream& stream) {
  memory original(stored, engine(), const_cast<float*>(data));
  if (wanted == stored) return original;
  memory copy(wanted, engine());
  dnnl::reorder(original, copy).execute(stream, original, copy);
  stream.wait();
  return copy;
}

/// Creates the primitive once; a call only executes it. Without `pack`, B keeps its layout in
/// memory, as for the project's own kernels, and each call reorders B if oneDNN finds that faster.
template <memory::data_type type, bool pack>
std::function<void()> prepare(const Product& p, int threads) {
  set_openmp_threads(threads);
  constexpr auto kFloat = memory::data_type::f32;
  const memory::desc c = plain(kFloat, p.M, p.N, false),
                     b = pack ? memory::desc({p.K, p.N}, type, memory::format_tag::any)
                              : plain(type, p.K, p.N, p.b_transposed);
  const dnnl::matmul::primitive_desc description(
      dnnl::matmul::desc(plain(type, p.M, p.K, p.a_transposed), b, c), engine());
  dnnl::stream stream(engine());
  const std::unordered_map<int, memory> arguments = {
      {DNNL_ARG_SRC,
       factor(plain(kFloat, p.M, p.K, p.a_transposed), p.a, description.src_desc(), stream)},
      {DNNL_ARG_WEIGHTS,
       factor(plain(kFloat, p.K, p.N, p.b_transposed), p.b, description.weights_desc(), stream)},
      {DNNL_ARG_DST, memory(c, engine(), p.c)}};
  return [matmul = dnnl::matmul(description), stream, arguments]() mutable {
    matmul.execute(stream, arguments);
    stream.wait();
  };
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

Rival onednn() {
  return {"onednn", about(), false, prepare<memory::data_type::f32, false>, rest_openmp};
}
Rival onednn_sgemm() { return {"onednn_sgemm", about(), false, prepare_sgemm, rest_openmp}; }
Rival onednn_packed() {
  return {"onednn_packed", about(), true, prepare<memory::data_type::f32, true>, rest_openmp};
}
Rival onednn_bf16() {
  return {"onednn",    about(),         false, prepare<memory::data_type::bf16, false>,
          rest_openmp, Precision::kBf16};
}
Rival onednn_packed_bf16() {
  return {"onednn_packed", about(),         true, prepare<memory::data_type::bf16, true>,
          rest_openmp,     Precision::kBf16};
}

}  // namespace mmrec::bench
