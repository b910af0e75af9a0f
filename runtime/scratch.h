#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>

namespace mmrec {

/// Pool of scratch memory for kernels (halide_malloc) and their callers. Freed blocks are kept and
/// reused for the same size class: after every kernel has run once, nothing more is allocated.
/// Thread-safe.
class ScratchPool {
 public:
  static constexpr int kClassesPerOctave = 8;
  static constexpr size_t kClasses = 64 * kClassesPerOctave;

  struct Header;
  /// Owns blocks whose user may end without freeing them one by one (longjmp). The destructor gives
  /// all of them back.
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
  /// Blocks that are still in use leak.
  ~ScratchPool() { release_free_blocks(); }
  ScratchPool(const ScratchPool&) = delete;
  ScratchPool& operator=(const ScratchPool&) = delete;

  /// Returns at least `bytes` bytes, aligned to 64, or null if the system has no more memory.
  /// `held` takes ownership of the block; use one Held on one thread only.
  void* take(size_t bytes, Held* held = nullptr);
  /// Returns a block to its pool. Call it on the thread that took the block. Null is allowed.
  static void give_back(void* block);

  /// Returns how often this pool has allocated memory from the system since its construction.
  int64_t system_allocations() const { return system_allocations_.load(std::memory_order_relaxed); }

 private:
  /// Blocks of one size class. Blocks for tasks of parallel loops are kept apart: how many are in
  /// use at once depends on thread timing. Once one task has needed n blocks, the pool holds n
  /// blocks per thread, so later runs allocate nothing.
  struct Class {
    Header* free[2] = {};    // indexed by in_task
    int most_in_a_task = 0;  // largest number of blocks held by one task
    int of_tasks = 0;        // blocks allocated for tasks
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

/// A scratch block of the current context, aligned to 64 bytes, held for the lifetime of this
/// object. Throws an Error that names the requested size if there is no memory.
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

/// Returns how often the current context has allocated scratch memory from the system. A training
/// step after the first must not change it.
int64_t scratch_system_allocations();

}  // namespace mmrec
