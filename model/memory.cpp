#include "model/memory.h"

#include "runtime/rng.h"
#include "runtime/threads.h"

namespace mmrec {

namespace {
constexpr int kPooling = 16;                         // two levels of 4:1
constexpr float kTopDeviation = kSlotDeviation / 4;  // of the mean of that many
}  // namespace

int top_slots(const Config& config) { return config.mem_slots / kPooling; }
bool learns_memory(const Config& config) { return config.memory == "learned"; }

Memory allocate_memory(const Config& config, Arena& arena) {
  if (learns_memory(config)) return {};
  const auto bank = [&] { return arena.tensor({config.layers, top_slots(config), config.dim}); };
  return {bank(), bank()};
}

void draw_memory(uint64_t seed, uint64_t draw, const Memory& memory) {
  if (!memory.keys.data()) return;
  const Philox random(seed, rng_stream(Stream::kMemory, draw));
  const int layers = memory.keys.size(0);
  const int64_t count = memory.keys.count() / layers;  // per layer and bank; a multiple of 4, as dim is
  parallel_for(2 * layers, [&](int bank) {
    float* values = (bank % 2 ? memory.values : memory.keys).data() + bank / 2 * count;
    random.fill_normal(static_cast<uint64_t>(bank * count / 4), kTopDeviation, values, count);
  });
}

void pool_banks(const Tensor& bank, const Tensor& top) {
  const int layers = bank.size(0), D = bank.size(2);
  check_shape("pool_banks: top", top, {layers, bank.size(1) / kPooling, D});
  for (int layer = 0; layer < layers; ++layer)
    for (int slot = 0; slot < top.size(1); ++slot)
      for (int d = 0; d < D; ++d) {
        double sum = 0;
        for (int i = 0; i < kPooling; ++i) sum += bank.at(layer).at(slot * kPooling + i).data()[d];
        top.at(layer).at(slot).data()[d] = static_cast<float>(sum / kPooling);
      }
}

}  // namespace mmrec
