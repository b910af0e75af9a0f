#include "bench/rivals/rivals.h"

namespace mmrec::bench {

std::vector<Rival> rivals() {
  return {
#if defined(MMREC_RIVAL_ONEDNN)
      onednn(),   onednn_sgemm(), onednn_packed(),
#endif
#if defined(MMREC_RIVAL_OPENBLAS)
      openblas(),
#endif
#if defined(MMREC_RIVAL_EIGEN)
      eigen(),
#endif
  };
}

}  // namespace mmrec::bench
