// gemm of arrays of bfloat16: see common/gemm_direct.h.
#include "generators/common/gemm_direct.h"

namespace mmrec::generators {

class GemmBf16DirectNN : public GemmDirect<GemmBf16DirectNN, Layout::kNN, true> {};
class GemmBf16DirectNT : public GemmDirect<GemmBf16DirectNT, Layout::kNT, true> {};
class GemmBf16DirectTN : public GemmDirect<GemmBf16DirectTN, Layout::kTN, true> {};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmBf16DirectNN, gemm_bf16_direct_nn)
HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmBf16DirectNT, gemm_bf16_direct_nt)
HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmBf16DirectTN, gemm_bf16_direct_tn)
