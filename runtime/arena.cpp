#include "runtime/arena.h"

#include "support/error.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <utility>

namespace mmrec {

namespace {
constexpr size_t kHugePage = 2 << 20;  // bytes
}

Arena::Arena(size_t bytes) : capacity_(bytes) {
  if (bytes == 0) return;
  const size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  memory_ = static_cast<uint8_t*>(std::aligned_alloc(alignment, rounded));
  if (!memory_)
    fail("out of memory: could not allocate {:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
  // Fewer TLB misses. Only a hint: ignore failure.
  if (alignment == kHugePage) madvise(memory_, rounded, MADV_HUGEPAGE);
  std::memset(memory_, 0, bytes);
}

Arena::~Arena() { std::free(memory_); }

Arena::Arena(Arena&& other) noexcept { *this = std::move(other); }

Arena& Arena::operator=(Arena&& other) noexcept {
  std::swap(memory_, other.memory_);
  std::swap(capacity_, other.capacity_);
  std::swap(used_, other.used_);
  return *this;
}

void* Arena::take_bytes(size_t bytes) {
  const size_t begin = used_, end = begin + (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (memory_ && end > capacity_)
    fail("arena: {} bytes were laid out, {} are needed", capacity_, end);
  used_ = end;
  return memory_ ? memory_ + begin : nullptr;
}

}  // namespace mmrec
