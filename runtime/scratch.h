#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>

namespace mmrec {

/// Scratch memory, of the kernels (halide_malloc) and of their callers: blocks that are given back are kept and handed out again for the
/// same size class, so once every kernel has run, nothing is allocated any more. Thread-safe.
class ScratchPool {
 public:
  static constexpr int kClassesPerOctave = 8;
  static constexpr size_t kClasses = 64 * kClassesPerOctave;

  struct Header;
  /// Blocks that are held by somebody who may end without giving them back one by one: all of them are given back at its end.
  class Held {
   public:
    Held() = default;
    ~Held() {
      while (first_) give_back_first();
    }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

   private:
    friend class ScratchPool;
    void give_back_first();
    Header* first_ = nullptr;
  };

  ScratchPool() = default;
  /// Blocks that have not been given back are lost.
  ~ScratchPool() { release_free_blocks(); }
  ScratchPool(const ScratchPool&) = delete;
  ScratchPool& operator=(const ScratchPool&) = delete;

  /// At least so many bytes, aligned to 64; null where the system has no more. `held` remembers the block, on this thread alone.
  void* take(size_t bytes, Held* held = nullptr);
  /// To the pool that it is from; on the thread that took it. Null is nothing.
  static void give_back(void* block);

  /// How often it had to ask the system for memory, ever.
  int64_t system_allocations() const { return system_allocations_.load(std::memory_order_relaxed); }

 private:
  /// The blocks of a class. Those of tasks of parallel loops are apart: how many of them are in use at once depends on how the
  /// threads happen to meet, so there are as many as all threads together can want as soon as one task has wanted them.
  struct Class {
    Header* free[2] = {};    // [in a task]
    int most_in_a_task = 0;  // blocks that one task has held at once
    int of_tasks = 0;        // blocks that there are for tasks
  };
  struct SizeClass {
    int index;
    size_t bytes;
  };

  static SizeClass size_class(size_t bytes);
  Header* take_from_system(const SizeClass& size);
  void release_free_blocks();

  std::mutex mutex_;
  std::array<Class, kClasses> classes_;
  std::atomic<int64_t> system_allocations_{0};
};

/// A block of the current context's for as long as this lives; aligned to 64 bytes. Throws an Error that says how much was asked for.
class Scratch {
 public:
  explicit Scratch(size_t bytes);
  ~Scratch() { ScratchPool::give_back(block_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  template <class T>
  T* data() const {
    return static_cast<T*>(block_);
  }

 private:
  void* block_;
};

/// "out of memory: 12.5 MiB of scratch memory were asked for".
std::string out_of_scratch(size_t bytes);

/// How often the current context had to ask the system for scratch memory, ever: a training step must not change it.
int64_t scratch_system_allocations();

}  // namespace mmrec
