#include "runtime/tensor.h"

#include <HalideRuntime.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <utility>

#include "support/error.h"

namespace mmrec {

static_assert(sizeof(detail::Buffer) == sizeof(halide_buffer_t) &&
              offsetof(detail::Buffer, host) == offsetof(halide_buffer_t, host) &&
              offsetof(detail::Buffer, type) == offsetof(halide_buffer_t, type) &&
              offsetof(detail::Buffer, dimensions) == offsetof(halide_buffer_t, dimensions) &&
              offsetof(detail::Buffer, axes) == offsetof(halide_buffer_t, dim));
static_assert(sizeof(detail::BufferAxis) == sizeof(halide_dimension_t) &&
              offsetof(detail::BufferAxis, extent) == offsetof(halide_dimension_t, extent) &&
              offsetof(detail::BufferAxis, stride) == offsetof(halide_dimension_t, stride));
static_assert(std::bit_cast<uint32_t>(detail::element_type<float>()) ==
                  std::bit_cast<uint32_t>(halide_type_of<float>()) &&
              std::bit_cast<uint32_t>(detail::element_type<int32_t>()) ==
                  std::bit_cast<uint32_t>(halide_type_of<int32_t>()));

void detail::fail_rank(size_t rank) {
  fail("a tensor has at most {} dimensions, not {}", Tensor::kMaxRank, rank);
}

void detail::fail_count(std::span<const int> shape) {
  fail(
      "a tensor of shape [{}] has too many elements: kernels count fewer than 2^31; take a smaller "
      "batch",
      fmt::join(shape, ","));
}

template <class T>
TensorView<T> TensorView<T>::slice(int axis, int begin, int end) const {
  if (axis < 0 || axis >= rank() || begin < 0 || begin > end || end > size(axis))
    fail("slice [{}, {}) of axis {} is outside a tensor of shape {}", begin, end, axis,
         shape_string());
  TensorView part = *this;
  part.axes_[rank() - 1 - axis].extent = end - begin;
  part.buffer_.host =
      reinterpret_cast<uint8_t*>(data() + static_cast<int64_t>(begin) * stride(axis));
  return part;
}

template <class T>
TensorView<T> TensorView<T>::swap_outer() const {
  if (rank() < 2) fail("a tensor of shape {} has no two axes to swap", shape_string());
  TensorView swapped = *this;
  std::swap(swapped.axes_[rank() - 1], swapped.axes_[rank() - 2]);
  return swapped;
}

template <class T>
TensorView<T> TensorView<T>::reshape(std::initializer_list<int> shape) const {
  TensorView result(data(), shape);
  if (result.count() != count())
    fail("cannot see a tensor of shape {} as {}", shape_string(), result.shape_string());
  if (contiguous()) return result;
  const bool same_columns =
      rank() >= 2 && result.rank() >= 2 && result.axes_[0].extent == axes_[0].extent;
  bool regular = same_columns;
  for (int i = 2; i < rank(); ++i)
    regular = regular && axes_[i].stride == axes_[i - 1].stride * axes_[i - 1].extent;
  if (!regular)
    fail("a strided tensor of shape {} cannot be seen as {}", shape_string(),
         result.shape_string());
  int stride = axes_[1].stride;
  for (int i = 1; i < result.rank(); ++i) {
    result.axes_[i].stride = stride;
    stride *= result.axes_[i].extent;
  }
  return result;
}

template <class T>
std::string TensorView<T>::shape_string() const {
  std::string text = "[";
  for (int axis = 0; axis < rank(); ++axis) text += (axis ? "," : "") + std::to_string(size(axis));
  return text + "]";
}

template <class T>
void check_shape(const char* what, const TensorView<T>& tensor, std::initializer_list<int> shape) {
  bool same = tensor.rank() == static_cast<int>(shape.size());
  int axis = 0;
  for (int extent : shape) {
    same = same && (extent < 0 || tensor.size(axis) == extent);
    ++axis;
  }
  if (same && (tensor.rank() == 0 || tensor.stride(tensor.rank() - 1) == 1)) return;
  fail("{}: expected shape [{}] with a contiguous last axis, got {}", what, fmt::join(shape, ","),
       tensor.shape_string());
}

void set_zero(const Tensor& tensor) {
  if (tensor.contiguous()) {
    std::fill_n(tensor.data(), tensor.count(), 0.f);
    return;
  }
  for (int i = 0; i < tensor.size(0); ++i) set_zero(tensor.at(i));
}

void copy_values(const Tensor& from, const Tensor& to) {
  if (from.contiguous() && to.contiguous()) {
    std::copy_n(from.data(), from.count(), to.data());
    return;
  }
  for (int i = 0; i < from.size(0); ++i) copy_values(from.at(i), to.at(i));
}

template class TensorView<float>;
template class TensorView<int32_t>;
template class TensorView<uint16_t>;
template class TensorView<int8_t>;
template void check_shape(const char* what, const Tensor& tensor, std::initializer_list<int> shape);
template void check_shape(const char* what, const IntTensor& tensor,
                          std::initializer_list<int> shape);
template void check_shape(const char* what, const Bf16Tensor& tensor,
                          std::initializer_list<int> shape);

}  // namespace mmrec
