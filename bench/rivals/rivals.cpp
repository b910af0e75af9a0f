#include "bench/rivals/rivals.h"

#include <utility>

namespace mmrec::bench {

std::vector<Rival> rivals() {
  std::vector<Rival> all = {
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
  for (Rival& rival : wheels()) all.push_back(std::move(rival));
  return all;
}

}  // namespace mmrec::bench
