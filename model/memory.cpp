#include "model/memory.h"

namespace mmrec {

namespace {
constexpr int kPooling = 16;  // two levels of 4:1
}  // namespace

int top_slots(const Config& config) { return config.mem_slots / kPooling; }
bool learns_memory(const Config& config) { return config.memory == "learned"; }

void pool_bank(const Tensor& bank, const Tensor& top) {
  const int D = bank.size(1);
  check_shape("pool_bank: top", top, {bank.size(0) / kPooling, D});
  for (int slot = 0; slot < top.size(0); ++slot)
    for (int d = 0; d < D; ++d) {
      double sum = 0;
      for (int i = 0; i < kPooling; ++i) sum += bank.at(slot * kPooling + i).data()[d];
      top.at(slot).data()[d] = static_cast<float>(sum / kPooling);
    }
}

}  // namespace mmrec
