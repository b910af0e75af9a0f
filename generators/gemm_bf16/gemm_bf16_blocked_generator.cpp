// gemm of arrays of bfloat16: see common/gemm_blocked.h.
#include "generators/common/gemm_blocked.h"

namespace mmrec::generators {

class GemmBf16BlockedNN : public GemmBlocked<GemmBf16BlockedNN, Layout::kNN, true> {};
class GemmBf16BlockedNT : public GemmBlocked<GemmBf16BlockedNT, Layout::kNT, true> {};
class GemmBf16BlockedTN : public GemmBlocked<GemmBf16BlockedTN, Layout::kTN, true> {};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmBf16BlockedNN, gemm_bf16_blocked_nn)
HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmBf16BlockedNT, gemm_bf16_blocked_nt)
HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmBf16BlockedTN, gemm_bf16_blocked_tn)
