// gemm of arrays of bfloat16: see common/gemm_packed.h.
#include "generators/common/gemm_packed.h"

namespace mmrec::generators {

class GemmBf16PackedNN : public GemmPacked<GemmBf16PackedNN, Layout::kNN, true> {};
class GemmBf16PackedNT : public GemmPacked<GemmBf16PackedNT, Layout::kNT, true> {};
class GemmBf16PackedTN : public GemmPacked<GemmBf16PackedTN, Layout::kTN, true> {};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmBf16PackedNN, gemm_bf16_packed_nn)
HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmBf16PackedNT, gemm_bf16_packed_nt)
HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmBf16PackedTN, gemm_bf16_packed_tn)
