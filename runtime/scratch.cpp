#include "runtime/scratch.h"

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "runtime/context_parts.h"
#include "runtime/executor.h"
#include "runtime/threads.h"
#include "support/error.h"

namespace mmrec {

namespace {
constexpr size_t kAlignment = 64;  // bytes; also the size of the header before each block
}

/// Stored in the kAlignment bytes before each block.
struct ScratchPool::Header {
  ScratchPool* pool;
  int index;  // size class
  bool in_task;
  Header* next;        // next free block, or next block of the same Held
  Header** before;     // the pointer in the Held's list that points here; null without a Held
  const void* thread;  // that used it last: its core's cache may still have the block

  void* block() { return reinterpret_cast<uint8_t*>(this) + kAlignment; }
};

namespace {

// blocks that this thread's task holds, per size class
thread_local std::array<int, ScratchPool::kClasses> held_by_task{};

template <class Header>
void push(Header*& list, Header* header) {
  header->next = list;
  list = header;
}

/// Takes a block off a free list: one that this thread used last, else one that none has used, else
/// the first. Null: there is none.
template <class Header>
Header* pop(Header*& list, const void* thread) {
  Header** best = &list;
  for (Header** place = &list; *place; place = &(*place)->next) {
    if ((*place)->thread == thread) {
      best = place;
      break;
    }
    if (!(*place)->thread && (*best)->thread) best = place;
  }
  Header* const header = *best;
  if (header) *best = header->next;
  return header;
}

}  // namespace

/// Size classes are eighths of powers of two: at most one eighth is wasted.
ScratchPool::SizeClass ScratchPool::size_class(size_t bytes) {
  if (bytes < 1024) bytes = 1024;
  const int octave = std::bit_width(bytes - 1) - 1;  // 2^octave < bytes <= 2^(octave + 1)
  const size_t step = (size_t{1} << octave) / kClassesPerOctave;
  const size_t eighths = (bytes - (size_t{1} << octave) + step - 1) / step;
  return {octave * kClassesPerOctave + static_cast<int>(eighths),
          (size_t{1} << octave) + eighths * step};
}

ScratchPool::Header* ScratchPool::take_from_system(const SizeClass& size) {
  system_allocations_.fetch_add(1, std::memory_order_relaxed);
  auto* header = static_cast<Header*>(
      std::aligned_alloc(kAlignment, (size.bytes + 2 * kAlignment - 1) / kAlignment * kAlignment));
  if (header) *header = {this, size.index, false, nullptr, nullptr, nullptr};
  return header;
}

void ScratchPool::release_free_blocks() {
  for (Class& blocks : classes_)
    for (const bool in_task : {false, true})
      while (Header* const header = blocks.free[in_task]) {
        blocks.free[in_task] = header->next;
        if (in_task) --blocks.of_tasks;
        std::free(header);
      }
}

void* ScratchPool::take(size_t bytes, Held* held) {
  const SizeClass size = size_class(bytes);
  const bool in_task = inside_parallel_loop();
  std::lock_guard lock(mutex_);
  Class& blocks = classes_[size.index];
  if (in_task) {
    blocks.most_in_a_task = std::max(blocks.most_in_a_task, held_by_task[size.index] + 1);
    for (; blocks.of_tasks < blocks.most_in_a_task * num_threads(); ++blocks.of_tasks) {
      Header* const header = take_from_system(size);
      if (!header) break;
      push(blocks.free[true], header);
    }
  }
  Header* header = pop(blocks.free[in_task], &held_by_task);
  if (!header) {
    header = take_from_system(size);
    if (!header) {  // freeing the unused blocks may be enough
      release_free_blocks();
      header = take_from_system(size);
    }
    if (!header) return nullptr;
    if (in_task) ++blocks.of_tasks;
  }
  header->in_task = in_task;
  header->thread = &held_by_task;
  if (in_task) ++held_by_task[size.index];
  header->before = nullptr;
  if (held) {
    push(held->first_, header);
    header->before = &held->first_;
    if (header->next) header->next->before = &header->next;
  }
  return header->block();
}

void ScratchPool::give_back(void* block) {
  if (!block) return;
  auto* header = reinterpret_cast<Header*>(static_cast<uint8_t*>(block) - kAlignment);
  if (header->before) {
    *header->before = header->next;
    if (header->next) header->next->before = header->before;
  }
  if (header->in_task) --held_by_task[header->index];
  ScratchPool& pool = *header->pool;
  std::lock_guard lock(pool.mutex_);
  push(pool.classes_[header->index].free[header->in_task], header);
}

void ScratchPool::Held::give_back_first() { give_back(first_->block()); }

Scratch::Scratch(size_t bytes) : block_(Context::current().parts().scratch.take(bytes)) {
  if (!block_) fail("{}", out_of_scratch(bytes));
}

std::string out_of_scratch(size_t bytes) {
  return fmt::format("out of memory: {:.1f} MiB of scratch memory were asked for",
                     static_cast<double>(bytes) / (1 << 20));
}

int64_t scratch_system_allocations() {
  return Context::current().parts().scratch.system_allocations();
}

}  // namespace mmrec
