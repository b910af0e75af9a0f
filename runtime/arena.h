#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "runtime/tensor.h"

namespace mmrec {

/// One block of memory, laid out once. Without memory (the default) it only counts.
class Arena {
 public:
  static constexpr size_t kAlignment = 64;  // bytes: a cache line and a 512-bit vector

  Arena() = default;
  explicit Arena(size_t bytes);
  /// An arena with just the room that lay_out(arena) takes: it is called twice, first over an arena that only counts.
  template <class LayOut>
  static Arena fitted(const LayOut& lay_out) {
    Arena counting;
    lay_out(counting);
    Arena arena(counting.used());
    lay_out(arena);
    return arena;
  }
  ~Arena();
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&& other) noexcept;

  /// An uninitialised array (zeroed once, when the arena is made). Throws when the arena is full.
  template <class T>
  TensorView<T> take(std::initializer_list<int> shape) {
    TensorView<T> view(nullptr, shape);
    view.set_data(static_cast<T*>(take_bytes(static_cast<size_t>(view.count()) * sizeof(T))));
    return view;
  }
  Tensor tensor(std::initializer_list<int> shape) { return take<float>(shape); }

  /// Lays out every part in the same place, which has room for the largest: for what only one of them uses at a time.
  template <class Parts, class LayOut>
  void overlay(const Parts& parts, const LayOut& lay_out) {
    const size_t begin = used_;
    size_t end = begin;
    for (const auto& part : parts) {
      used_ = begin;
      lay_out(part);
      end = std::max(end, used_);
    }
    used_ = end;
  }

  size_t used() const { return used_; }

 private:
  void* take_bytes(size_t bytes);

  uint8_t* memory_ = nullptr;
  size_t capacity_ = 0, used_ = 0;
};

}  // namespace mmrec
