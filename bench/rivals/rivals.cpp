#include "bench/rivals/rivals.h"

#include <utility>

namespace mmrec::bench {

namespace {

std::vector<Rival> find_rivals() {
  std::vector<Rival> all = {
#if defined(MMREC_RIVAL_ONEDNN)
    onednn(),
    onednn_sgemm(),
    onednn_packed(),
    onednn_bf16(),
    onednn_packed_bf16(),
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

}  // namespace

const std::vector<Rival>& rivals() {
  static const std::vector<Rival> all = find_rivals();
  return all;
}

}  // namespace mmrec::bench
