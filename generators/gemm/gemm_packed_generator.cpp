// gemm: see common/gemm_packed.h.
#include "generators/common/gemm_packed.h"

namespace mmrec::generators {

class GemmPackedNN : public GemmPacked<GemmPackedNN, Layout::kNN> {};
class GemmPackedNT : public GemmPacked<GemmPackedNT, Layout::kNT> {};
class GemmPackedTN : public GemmPacked<GemmPackedTN, Layout::kTN> {};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmPackedNN, gemm_packed_nn)
HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmPackedNT, gemm_packed_nt)
HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmPackedTN, gemm_packed_tn)
