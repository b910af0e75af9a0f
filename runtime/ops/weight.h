#pragma once

#include <initializer_list>

#include "generators/constants/constants.h"
#include "runtime/arena.h"
#include "runtime/context.h"
#include "runtime/tensor.h"

namespace mmrec::ops {

/// Number of panels of a packed weight.
constexpr int weight_panels(int out) { return (out + kWeightPanel - 1) / kWeightPanel; }

/// The matrix [out][in] of a linear layer, and optionally a copy that is packed for products with
/// few rows, in which packing takes longer than multiplying. Functions that take a Weight use the
/// copy if there is one. It does not follow the matrix: pack again when the matrix has changed.
struct Weight : Tensor {
  Weight() = default;
  Weight(const Tensor& matrix) : Tensor(matrix) {}

  /// Takes memory for the packed copy.
  void lay_out_packed(Arena& arena) {
    packed = arena.tensor({weight_panels(size(0)), size(1), kWeightPanel});
  }
  bool is_packed() const { return packed.rank() != 0; }
  /// What a kernel reads: the packed copy if there is one.
  const Tensor& operand() const { return is_packed() ? packed : *this; }

  /// The packed copy for kernels with bfloat16 factors, in the first half of its memory:
  /// [weight_panels(out)][ceil(in / 2)][kWeightPanel] pairs along `in`.
  IntTensor packed_pairs() const {
    return {reinterpret_cast<int32_t*>(packed.data()),
            {packed.size(0), (packed.size(1) + 1) / 2, kWeightPanel}};
  }

  /// [weight_panels(out)][in][kWeightPanel]: panels of outputs, padded with zeros; or
  /// empty.
  Tensor packed;
};

/// Fills weight.packed for kernels of a precision, by default the calling thread's. `norm` [in]:
/// factors of the inputs, for a layer behind a norm; or empty.
void pack(const Weight& weight, const Tensor& norm, Precision precision);
void pack(const Weight& weight, const Tensor& norm = {});

/// Returns whether the weights are packed. Throws an Error if only some are, or if a packed copy
/// has another shape than its matrix.
bool all_packed(const char* what, std::initializer_list<const Weight*> weights);

}  // namespace mmrec::ops
