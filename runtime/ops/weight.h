#pragma once

#include <initializer_list>
#include <span>

#include "generators/constants/constants.h"
#include "runtime/arena.h"
#include "runtime/context.h"
#include "runtime/tensor.h"

namespace mmrec::ops {

/// Number of panels of a packed weight.
constexpr int weight_panels(int out) { return (out + kWeightPanel - 1) / kWeightPanel; }

/// Number of rows, of a float for each column, that a panel of weights with `in` inputs takes: an
/// input each; with kBf16 a pair of inputs; with kInt8 the columns' scales and then four inputs.
constexpr int packed_rows(int in, Precision precision) {
  return precision == Precision::kBf16   ? (in + 1) / 2
         : precision == Precision::kInt8 ? 1 + (in + 3) / 4
                                         : in;
}

/// The matrix [out][in] of a linear layer, and optionally a copy that is packed for products with
/// few rows, in which packing takes longer than multiplying. Functions that take a Weight use the
/// copy if there is one. It does not follow the matrix: pack again when the matrix has changed.
struct Weight : Tensor {
  Weight() = default;
  Weight(const Tensor& matrix) : Tensor(matrix) {}

  /// Takes memory for a copy that is packed for kernels of a precision.
  void lay_out_packed(Arena& arena, Precision precision) {
    packed = arena.tensor({weight_panels(size(0)), packed_rows(size(1), precision), kWeightPanel});
    factors = precision;
  }
  bool is_packed() const { return packed.rank() != 0; }
  /// The packed copy as kernels of kBf16 and of kInt8 read it.
  IntTensor packed_pairs() const {
    return {reinterpret_cast<int32_t*>(packed.data()),
            {packed.size(0), packed.size(1), kWeightPanel}};
  }
  ByteTensor packed_bytes() const {
    return {reinterpret_cast<int8_t*>(packed.data()),
            {packed.size(0), 4 * packed.size(1), kWeightPanel}};
  }

  /// [weight_panels(out)][packed_rows(in, factors)][kWeightPanel]: panels of outputs, padded with
  /// zeros; or empty.
  Tensor packed;
  Precision factors = Precision::kFloat32;  ///< of the kernels that read the copy
};

/// Fills weight.packed. `norm` [in]: factors of the inputs, for a layer behind a norm; or empty.
void pack(const Weight& weight, const Tensor& norm = {});

/// Returns whether the weights are packed. Throws an Error if only some are, or if a packed copy
/// has another shape than its matrix.
bool all_packed(const char* what, std::initializer_list<const Weight*> weights);

/// Rounds a weight to what int8 can hold of it: each row to whole numbers from -127 to 127 times
/// one scale, the least one that its largest element allows. `norm`, if it is given, is multiplied
/// into the matrix before and is then 1. So the layer computes with the values that pack() would
/// give kernels of kInt8, and rounded again the weight stays as it is.
void round_to_int8(const Tensor& weight, const Tensor& norm = {});

/// Packs the weights of an output as int8: the bytes of their scale, then theirs, each `stride`
/// after the one before.
void pack_int8(std::span<const float> weights, int8_t* to, int stride);

}  // namespace mmrec::ops
