#include "runtime/ops/gemm.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "runtime/kernel_registry.h"
#include "runtime/ops/weight_operands.h"
#include "runtime/scratch.h"
#include "runtime/threads.h"

namespace mmrec::ops {

namespace {

template <class A, class B>
void run(Kernel& kernel, const char* name, const A& a, const B& b, const Tensor& c, int K,
         const GemmEpilogue& epilogue) {
  const int M = c.size(0), N = c.size(1);
  if (M == 0 || N == 0) return;
  // The kernels always add a bias: a missing bias becomes a row of zeros. They read the residual
  // only if beta is not 0.
  std::optional<Scratch> zeros;
  Tensor bias = epilogue.bias;
  if (bias.rank() == 0) {
    zeros.emplace(N * sizeof(float));
    bias = Tensor(zeros->data<float>(), {N});
    set_zero(bias);
  }
  const bool has_residual = epilogue.residual.rank() != 0;
  const Tensor& residual = has_residual ? epilogue.residual : c;
  const float beta = has_residual ? epilogue.beta : 0.f;
  check_shape(name, bias, {N});
  check_shape(name, residual, {M, N});
  kernel({.flops = 2.0 * M * N * K, .sizes = {M, N, K}}, a, b, bias, residual, beta, c);
}

/// A matrix of bfloat16 whose rows a product reads as pairs: the matrix itself or, where a row or
/// the way to the next is odd, a copy with a 0 behind each row.
class Pairs {
 public:
  explicit Pairs(const Bf16Tensor& x) {
    const int rows = x.size(0), columns = x.size(1), width = columns + columns % 2;
    if (columns % 2 == 0 && (x.stride(0) % 2 == 0 || rows <= 1)) {
      pairs_ = view(x.data(), rows, std::max(x.stride(0), columns)).columns(0, columns / 2);
      return;
    }
    copy_.emplace(sizeof(uint16_t) * rows * width);
    auto* const data = copy_->data<uint16_t>();
    parallel_for((rows + kRows - 1) / kRows, [&](int block) {
      for (int row = block * kRows; row < std::min((block + 1) * kRows, rows); ++row) {
        uint16_t* const to = data + int64_t{row} * width;
        const uint16_t* const from = x.data() + int64_t{row} * x.stride(0);
        int i = 0;
        // in place of a call: rows may be short, and are many
        for (; i + kAtOnce <= columns; i += kAtOnce)
          std::memcpy(to + i, from + i, kAtOnce * sizeof *to);
        for (; i < width; ++i) to[i] = i < columns ? from[i] : 0;
      }
    });
    pairs_ = view(data, rows, width);
  }

  const IntTensor& operator*() const { return pairs_; }

 private:
  static constexpr int kRows = 128;  // of a task: a microsecond
  static constexpr int kAtOnce = 8;

  static IntTensor view(uint16_t* data, int rows, int stride) {
    return {reinterpret_cast<int32_t*>(data), {rows, stride / 2}};
  }

  std::optional<Scratch> copy_;
  IntTensor pairs_;
};

template <class Factor>
void check_nn(const Factor& a, const Factor& b, const Tensor& c) {
  check_shape("gemm_nn: a", a, {-1, -1});
  check_shape("gemm_nn: b", b, {a.size(1), -1});
  check_shape("gemm_nn: c", c, {a.size(0), b.size(1)});
}
template <class Factor>
void check_nt(const Factor& a, const Factor& b, const Tensor& c) {
  check_shape("gemm_nt: a", a, {-1, -1});
  check_shape("gemm_nt: b", b, {-1, a.size(1)});
  check_shape("gemm_nt: c", c, {a.size(0), b.size(0)});
}
template <class Factor>
void check_tn(const Factor& a, const Factor& b, const Tensor& c) {
  check_shape("gemm_tn: a", a, {-1, -1});
  check_shape("gemm_tn: b", b, {a.size(0), -1});
  check_shape("gemm_tn: c", c, {a.size(1), b.size(1)});
}

}  // namespace

void gemm_nn(const Tensor& a, const Tensor& b, const Tensor& c, const GemmEpilogue& epilogue) {
  check_nn(a, b, c);
  static Kernel kernel("gemm", "nn");
  run(kernel, "gemm_nn: bias or residual", a, b, c, a.size(1), epilogue);
}

void gemm_nt(const Tensor& a, const Tensor& b, const Tensor& c, const GemmEpilogue& epilogue) {
  check_nt(a, b, c);
  static Kernel kernel("gemm", "nt");
  run(kernel, "gemm_nt: bias or residual", a, b, c, a.size(1), epilogue);
}

void gemm_tn(const Tensor& a, const Tensor& b, const Tensor& c, const GemmEpilogue& epilogue) {
  check_tn(a, b, c);
  static Kernel kernel("gemm", "tn");
  run(kernel, "gemm_tn: bias or residual", a, b, c, a.size(0), epilogue);
}

void gemm_nn(const Bf16Tensor& a, const Bf16Tensor& b, const Tensor& c,
             const GemmEpilogue& epilogue) {
  check_nn(a, b, c);
  const ScopedPrecision precision(Precision::kBf16);
  static Kernel kernel("gemm_bf16", "nn");
  run(kernel, "gemm_nn: bias or residual", *Pairs(a), b, c, a.size(1), epilogue);
}

void gemm_nt(const Bf16Tensor& a, const Bf16Tensor& b, const Tensor& c,
             const GemmEpilogue& epilogue) {
  check_nt(a, b, c);
  const ScopedPrecision precision(Precision::kBf16);
  static Kernel kernel("gemm_bf16", "nt");
  run(kernel, "gemm_nt: bias or residual", *Pairs(a), *Pairs(b), c, a.size(1), epilogue);
}

void gemm_tn(const Bf16Tensor& a, const Bf16Tensor& b, const Tensor& c,
             const GemmEpilogue& epilogue) {
  check_tn(a, b, c);
  const ScopedPrecision precision(Precision::kBf16);
  static Kernel kernel("gemm_bf16", "tn");
  run(kernel, "gemm_tn: bias or residual", a, b, c, a.size(0), epilogue);
}

void linear(const Tensor& x, const Weight& weight, const Tensor& y, const GemmEpilogue& epilogue) {
  if (!all_packed("linear: weight", {&weight})) return gemm_nt(x, weight, y, epilogue);
  check_shape("linear: x", x, {-1, -1});
  check_shape("linear: weight", weight, {-1, x.size(1)});
  check_shape("linear: y", y, {x.size(0), weight.size(0)});
  static Kernel kernel("gemm", "packed");
  with_operands(kernel, true, [&](const auto& operand) {
    run(kernel, "linear: bias or residual", x, operand(weight), y, x.size(1), epilogue);
  });
}

void linear_gradients(const Tensor& dy, const Tensor& x, const Tensor& dweight,
                      const Tensor& dbias) {
  gemm_tn(dy, x, dweight, {.residual = dweight, .beta = 1.f});
  if (dbias.rank() != 0) column_sum(dy, dbias);
}

void column_sum(const Tensor& x, const Tensor& s) {
  check_shape("column_sum: x", x, {-1, -1});
  check_shape("column_sum: s", s, {x.size(1)});
  static Kernel kernel("column_sum", "forward");
  kernel({.flops = static_cast<double>(x.count()), .sizes = {x.size(0), x.size(1)}}, x, s);
}

}  // namespace mmrec::ops
