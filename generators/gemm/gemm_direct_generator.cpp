// gemm: see common/gemm_direct.h.
#include "generators/common/gemm_direct.h"

namespace mmrec::generators {

class GemmDirectNN : public GemmDirect<GemmDirectNN, Layout::kNN> {};
class GemmDirectNT : public GemmDirect<GemmDirectNT, Layout::kNT> {};
class GemmDirectTN : public GemmDirect<GemmDirectTN, Layout::kTN> {};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmDirectNN, gemm_direct_nn)
HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmDirectNT, gemm_direct_nt)
HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmDirectTN, gemm_direct_tn)
