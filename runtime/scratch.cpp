#include "runtime/scratch.h"

#include <array>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>

namespace mmrec {

namespace {

constexpr size_t kAlignment = 64;  // bytes; also the size of the header before each block
constexpr int kClassesPerOctave = 8;

/// Size classes in eighths of powers of two: at most an eighth is wasted.
struct SizeClass {
  int index;
  size_t bytes;
};

SizeClass size_class(size_t bytes) {
  if (bytes < 1024) bytes = 1024;
  const int octave = std::bit_width(bytes - 1) - 1;  // 2^octave < bytes <= 2^(octave + 1)
  const size_t step = (size_t{1} << octave) / kClassesPerOctave;
  const size_t eighths = (bytes - (size_t{1} << octave) + step - 1) / step;
  return {octave * kClassesPerOctave + static_cast<int>(eighths), (size_t{1} << octave) + eighths * step};
}

/// Lies in the kAlignment bytes before a block; a free block's header points to the next free one.
struct Header {
  int index;
  Header* next;
};

std::mutex mutex;
std::array<Header*, 64 * kClassesPerOctave> free_blocks{};
std::atomic<int64_t> system_allocations{0};

}  // namespace

void* scratch_take(size_t bytes) {
  const SizeClass size = size_class(bytes);
  {
    std::lock_guard lock(mutex);
    if (Header* header = free_blocks[size.index]) {
      free_blocks[size.index] = header->next;
      return reinterpret_cast<uint8_t*>(header) + kAlignment;
    }
  }
  system_allocations.fetch_add(1, std::memory_order_relaxed);
  auto* header = static_cast<Header*>(std::aligned_alloc(kAlignment, (size.bytes + 2 * kAlignment - 1) / kAlignment * kAlignment));
  if (!header) return nullptr;
  header->index = size.index;
  return reinterpret_cast<uint8_t*>(header) + kAlignment;
}

void scratch_give_back(void* block) {
  if (!block) return;
  auto* header = reinterpret_cast<Header*>(static_cast<uint8_t*>(block) - kAlignment);
  std::lock_guard lock(mutex);
  header->next = free_blocks[header->index];
  free_blocks[header->index] = header;
}

Scratch::Scratch(size_t bytes) : block_(scratch_take(bytes)) {
  if (!block_) throw std::bad_alloc();
}

int64_t scratch_system_allocations() { return system_allocations.load(std::memory_order_relaxed); }

}  // namespace mmrec
