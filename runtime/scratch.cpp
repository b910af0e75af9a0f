#include "runtime/scratch.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>

#include "runtime/thread_pool.h"
#include "runtime/threads.h"

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

constexpr size_t kClasses = 64 * kClassesPerOctave;

/// Lies in the kAlignment bytes before a block; a free block's header points to the next free one.
struct Header {
  int index;
  bool in_task;
  Header* next;
};

/// The blocks of a class. Those of tasks of parallel loops are apart: how many of them are in use at once depends on how the
/// threads happen to meet, so there are as many as all threads together can want as soon as one task has wanted them.
struct Class {
  Header* free[2] = {};    // [in a task]
  int most_in_a_task = 0;  // blocks that one task has held at once
  int of_tasks = 0;        // blocks that there are for tasks
};

std::mutex classes_mutex;
std::array<Class, kClasses> classes;
thread_local std::array<int, kClasses> held_by_task{};  // of this thread
std::atomic<int64_t> system_allocations{0};

Header* take_from_system(const SizeClass& size) {
  system_allocations.fetch_add(1, std::memory_order_relaxed);
  auto* header = static_cast<Header*>(std::aligned_alloc(kAlignment, (size.bytes + 2 * kAlignment - 1) / kAlignment * kAlignment));
  if (header) header->index = size.index;
  return header;
}

void push(Header*& list, Header* header) {
  header->next = list;
  list = header;
}

}  // namespace

void* scratch_take(size_t bytes) {
  const SizeClass size = size_class(bytes);
  const bool in_task = inside_parallel_loop();
  std::lock_guard lock(classes_mutex);
  Class& blocks = classes[size.index];
  if (in_task) {
    blocks.most_in_a_task = std::max(blocks.most_in_a_task, ++held_by_task[size.index]);
    for (; blocks.of_tasks < blocks.most_in_a_task * num_threads(); ++blocks.of_tasks)
      if (Header* header = take_from_system(size)) push(blocks.free[true], header);
  }
  Header* header = blocks.free[in_task];
  if (header)
    blocks.free[in_task] = header->next;
  else if (header = take_from_system(size); !header)
    return nullptr;
  header->in_task = in_task;
  return reinterpret_cast<uint8_t*>(header) + kAlignment;
}

void scratch_give_back(void* block) {
  if (!block) return;
  auto* header = reinterpret_cast<Header*>(static_cast<uint8_t*>(block) - kAlignment);
  std::lock_guard lock(classes_mutex);
  if (header->in_task) --held_by_task[header->index];
  push(classes[header->index].free[header->in_task], header);
}

Scratch::Scratch(size_t bytes) : block_(scratch_take(bytes)) {
  if (!block_) throw std::bad_alloc();
}

int64_t scratch_system_allocations() { return system_allocations.load(std::memory_order_relaxed); }

}  // namespace mmrec
