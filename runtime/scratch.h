#pragma once

#include <cstddef>
#include <cstdint>

namespace mmrec {

/// The kernels' scratch memory (halide_malloc): freed blocks are kept and handed out again for the same size class, so once
/// every kernel has run, nothing is allocated any more. Thread-safe.
void* scratch_take(size_t bytes);
void scratch_give_back(void* block);

/// A block for as long as this lives; aligned to 64 bytes. Throws std::bad_alloc.
class Scratch {
 public:
  explicit Scratch(size_t bytes);
  ~Scratch() { scratch_give_back(block_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  template <class T>
  T* data() const {
    return static_cast<T*>(block_);
  }

 private:
  void* block_;
};

/// How often scratch_take had to ask the system for memory, ever: a training step must not change it.
int64_t scratch_system_allocations();

}  // namespace mmrec
