#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <span>
#include <string>
#include <type_traits>

namespace mmrec {

namespace detail {
/// What a kernel reads of a view: laid out as Halide's halide_buffer_t. Declared here, so that who
/// includes this header needs none of Halide's; tensor.cpp checks that the layouts agree.
struct BufferAxis {
  int32_t min = 0, extent = 0, stride = 0;
  uint32_t flags = 0;
};
struct ElementType {
  uint8_t code, bits;
  uint16_t lanes = 1;
};
struct Buffer {
  uint64_t device = 0;
  const void* device_interface = nullptr;
  uint8_t* host = nullptr;
  uint64_t flags = 0;
  ElementType type;
  int32_t dimensions = 0;
  BufferAxis* axes;  ///< the innermost first
  void* padding = nullptr;
};
template <class T>
constexpr ElementType element_type() {
  constexpr uint8_t kInt = 0, kUint = 1, kFloat = 2;  // Halide's codes
  return {std::is_floating_point_v<T> ? kFloat : std::is_signed_v<T> ? kInt : kUint, 8 * sizeof(T)};
}

[[noreturn]] void fail_rank(size_t rank);
[[noreturn]] void fail_count(std::span<const int> shape);
}  // namespace detail

/// Non-owning view of an array. Axes are numbered from the outermost, as in the formulas: in
/// [T][B][C], C is contiguous. The view has the form that kernels take (detail::Buffer, whose axis
/// 0 is the innermost) and is passed to them without a copy. Kernels count elements in 32 bits: a
/// view has fewer than 2^31 elements. As with a pointer, a const view gives access to writable
/// elements.
template <class T>
class TensorView {
 public:
  static constexpr int kMaxRank = 4;

  TensorView() = default;
  TensorView(T* data, std::initializer_list<int> shape)
      : TensorView(data, std::span<const int>(shape.begin(), shape.size())) {}
  TensorView(T* data, std::span<const int> shape) {
    if (shape.size() > kMaxRank) detail::fail_rank(shape.size());
    buffer_.host = reinterpret_cast<uint8_t*>(data);
    buffer_.dimensions = static_cast<int>(shape.size());
    int64_t stride = 1;
    for (int i = 0; i < rank(); ++i) {
      axes_[i] = {.extent = shape[shape.size() - 1 - i], .stride = static_cast<int>(stride)};
      stride *= axes_[i].extent;
      if (stride > std::numeric_limits<int>::max()) detail::fail_count(shape);
    }
  }
  TensorView(const TensorView& other) { *this = other; }
  TensorView& operator=(const TensorView& other) {
    buffer_ = other.buffer_;
    axes_ = other.axes_;
    buffer_.axes = axes_.data();
    return *this;
  }

  T* data() const { return reinterpret_cast<T*>(buffer_.host); }
  int rank() const { return buffer_.dimensions; }
  /// Extent and stride (in elements) of an axis; axis 0 is the outermost.
  int size(int axis) const { return axes_[rank() - 1 - axis].extent; }
  int stride(int axis) const { return axes_[rank() - 1 - axis].stride; }
  int64_t count() const {
    int64_t n = 1;
    for (int i = 0; i < rank(); ++i) n *= axes_[i].extent;
    return n;
  }
  bool contiguous() const {
    int64_t expected = 1;
    for (int i = 0; i < rank(); ++i) {
      if (axes_[i].extent != 1 && axes_[i].stride != expected) return false;
      expected *= axes_[i].extent;
    }
    return true;
  }

  /// Returns the part [begin, end) of an axis. Throws an Error if it is out of range.
  TensorView slice(int axis, int begin, int end) const;
  TensorView rows(int begin, int end) const { return slice(0, begin, end); }
  TensorView columns(int begin, int end) const { return slice(rank() - 1, begin, end); }

  /// Returns the sub-view at `index` of the outermost axis: [T][B][C] -> [B][C].
  TensorView at(int index) const {
    TensorView part = slice(0, index, index + 1);
    --part.buffer_.dimensions;
    return part;
  }

  /// Swaps the two outermost axes: [T][B][C] -> [B][T][C].
  TensorView swap_outer() const;

  /// Returns the same elements in another shape. A strided view must keep its innermost axis; the
  /// other axes may be merged or split: columns of a wider matrix, [T*B][C] out of [T*B][4C],
  /// become [T][B][C]. Throws an Error for any other shape.
  TensorView reshape(std::initializer_list<int> shape) const;

  std::string shape_string() const;

  /// The descriptor for kernels. It belongs to this view and lives as long as the view.
  detail::Buffer* buffer() const { return const_cast<detail::Buffer*>(&buffer_); }
  /// Points the view at other data of the same shape. The cheap way to step through time.
  void set_data(T* data) { buffer_.host = reinterpret_cast<uint8_t*>(data); }

 private:
  std::array<detail::BufferAxis, kMaxRank> axes_{};
  detail::Buffer buffer_{.type = detail::element_type<T>(), .axes = axes_.data()};
};

using Tensor = TensorView<float>;
using IntTensor = TensorView<int32_t>;
using Bf16Tensor = TensorView<uint16_t>;  ///< the upper halves of floats
using ByteTensor = TensorView<int8_t>;

/// Returns the elements of a contiguous tensor.
inline std::span<float> contiguous_span(const Tensor& tensor) {
  return {tensor.data(), static_cast<size_t>(tensor.count())};
}
/// Sets every element to zero. Rows may be strided.
void set_zero(const Tensor& tensor);
/// Copies every element to a tensor of the same shape. Rows may be strided.
void copy_values(const Tensor& from, const Tensor& to);

/// Throws an Error unless the tensor has this shape and a contiguous last axis. An extent of -1
/// accepts any. `what` names the operation and the argument in the message.
template <class T>
void check_shape(const char* what, const TensorView<T>& tensor, std::initializer_list<int> shape);

}  // namespace mmrec
