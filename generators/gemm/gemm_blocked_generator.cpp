// gemm: see common/gemm_blocked.h.
#include "generators/common/gemm_blocked.h"

namespace mmrec::generators {

class GemmBlockedNN : public GemmBlocked<GemmBlockedNN, Layout::kNN> {};
class GemmBlockedNT : public GemmBlocked<GemmBlockedNT, Layout::kNT> {};
class GemmBlockedTN : public GemmBlocked<GemmBlockedTN, Layout::kTN> {};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmBlockedNN, gemm_blocked_nn)
HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmBlockedNT, gemm_blocked_nt)
HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmBlockedTN, gemm_blocked_tn)
