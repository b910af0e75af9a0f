#include "model/memory.h"

#include <array>

#include "runtime/rng.h"
#include "runtime/threads.h"

namespace mmrec {

namespace {
constexpr int kPooling = 16;                // two levels of 4:1
constexpr float kTopDeviation = 0.02f / 4;  // of the mean of 16 draws from N(0, 0.02)
}  // namespace

int top_slots(const Config& config) { return config.mem_slots / kPooling; }

Memory allocate_memory(const Config& config, Arena& arena) {
  const auto bank = [&] { return arena.tensor({config.layers, top_slots(config), config.dim}); };
  return {bank(), bank()};
}

void draw_memory(uint64_t seed, uint64_t draw, const Memory& memory) {
  const Philox random(seed, rng_stream(Stream::kMemory, draw));
  const int layers = memory.keys.size(0);
  const int64_t count = memory.keys.count() / layers;  // per layer and bank; a multiple of 4, as dim is
  parallel_for(2 * layers, [&](int bank) {
    float* values = (bank % 2 ? memory.values : memory.keys).data() + bank / 2 * count;
    for (int64_t i = 0; i < count; i += 4) {
      const std::array<float, 4> normals = random.normals((bank * count + i) / 4);
      for (int j = 0; j < 4; ++j) values[i + j] = kTopDeviation * normals[j];
    }
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
