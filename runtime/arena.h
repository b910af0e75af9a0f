#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "runtime/context.h"
#include "runtime/saved_tensor.h"

namespace mmrec {

/// Bump allocator: one block of memory that is laid out once.
/// A default-constructed Arena owns no memory. It only counts the bytes that a layout needs; the
/// views it hands out have null data.
class Arena {
 public:
  static constexpr size_t kAlignment = 64;  // bytes; one cache line, one 512-bit vector

  Arena() = default;
  explicit Arena(size_t bytes);
  /// Returns an arena with exactly the room that lay_out(arena) needs. lay_out is called twice:
  /// first on a counting arena, then on the real one.
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

  /// Returns an uninitialised array of the given shape, aligned to kAlignment. The whole arena is
  /// zeroed once, on construction. Throws an Error when the arena is full.
  template <class T>
  TensorView<T> take(std::initializer_list<int> shape) {
    TensorView<T> view(nullptr, shape);
    view.set_data(static_cast<T*>(take_bytes(static_cast<size_t>(view.count()) * sizeof(T))));
    return view;
  }
  Tensor tensor(std::initializer_list<int> shape) { return take<float>(shape); }
  /// The same, of the elements that operations keep in a precision.
  SavedTensor saved(std::initializer_list<int> shape, Precision precision) {
    if (precision == Precision::kBf16) return take<uint16_t>(shape);
    return take<float>(shape);
  }

  /// Lays out all parts at the same offset. The region is as large as the largest part. Use it for
  /// parts that are never in use at the same time.
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
