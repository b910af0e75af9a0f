#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <type_traits>
#include <utility>
#include <vector>

#include "bench/reference/real.h"
#include "runtime/saved_tensor.h"
#include "runtime/tensor.h"

namespace mmrec::reference {

/// Returns element `flat` (row-major) of a tensor with any strides.
template <class T>
T& element(const TensorView<T>& tensor, int64_t flat) {
  int64_t offset = 0;
  for (int axis = tensor.rank() - 1; axis >= 0; --axis) {
    offset += flat % tensor.size(axis) * tensor.stride(axis);
    flat /= tensor.size(axis);
  }
  return tensor.data()[offset];
}

/// The same as a number, of what an operation keeps.
inline float element(const SavedTensor& saved, int64_t flat) {
  return saved.visit([&](const auto& view) {
    const auto value = element(view, flat);
    if constexpr (std::is_same_v<decltype(value), const float>)
      return value;
    else
      return std::bit_cast<float>(uint32_t{value} << 16);
  });
}

template <class T>
std::vector<int> shape_of(const TensorView<T>& tensor) {
  std::vector<int> shape;
  for (int axis = 0; axis < tensor.rank(); ++axis) shape.push_back(tensor.size(axis));
  return shape;
}

inline std::vector<int> shape_of(const SavedTensor& saved) {
  return saved.visit([](const auto& view) { return shape_of(view); });
}

/// The values of dense ids.
inline std::vector<int32_t> values_of(const IntTensor& ids) {
  return {ids.data(), ids.data() + ids.count()};
}

/// A dense array that owns its values; argument and result of the references. Initially zero.
class Array {
 public:
  Array() = default;
  explicit Array(std::vector<int> shape) : shape_(std::move(shape)) {
    size_t count = 1;
    for (int extent : shape_) count *= extent;
    data_.resize(count);
  }
  Array(std::initializer_list<int> shape) : Array(std::vector<int>(shape)) {}
  Array(const Tensor& tensor) : Array(SavedTensor(tensor)) {}
  Array(const Bf16Tensor& tensor) : Array(SavedTensor(tensor)) {}
  explicit Array(const SavedTensor& tensor) : Array(shape_of(tensor)) {
    for (size_t i = 0; i < count(); ++i) data_[i] = element(tensor, i);
  }

  const std::vector<int>& shape() const { return shape_; }
  int size(int axis) const { return shape_[axis]; }
  size_t count() const { return data_.size(); }
  /// Returns whether this is an omitted optional argument, as opposed to an array without elements.
  bool absent() const { return shape_.empty(); }

  template <class... Index>
  Real& operator()(Index... index) {
    return data_[offset(index...)];
  }
  template <class... Index>
  const Real& operator()(Index... index) const {
    return data_[offset(index...)];
  }
  Real& operator[](size_t flat) { return data_[flat]; }
  const Real& operator[](size_t flat) const { return data_[flat]; }

 private:
  template <class... Index>
  size_t offset(Index... index) const {
    size_t flat = 0, axis = 0;
    ((flat = flat * shape_[axis++] + index), ...);
    return flat;
  }

  std::vector<int> shape_;
  std::vector<Real> data_;
};

/// Applies f to each element.
template <class Function>
Array map(const Array& x, Function f) {
  Array y(x.shape());
  for (size_t i = 0; i < x.count(); ++i) y[i] = f(x[i]);
  return y;
}

/// Applies f to each pair of elements of two arrays of equal shape.
template <class Function>
Array map(const Array& x, const Array& y, Function f) {
  Array z(x.shape());
  for (size_t i = 0; i < x.count(); ++i) z[i] = f(x[i], y[i]);
  return z;
}

inline Array operator+(const Array& x, const Array& y) {
  return map(x, y, [](Real a, Real b) { return a + b; });
}
inline Array operator*(const Array& x, const Array& y) {
  return map(x, y, [](Real a, Real b) { return a * b; });
}

/// sum_i x[i] y[i]: a scalar loss whose gradient with respect to y is x.
inline double dot(const Array& x, const Array& y) {
  double sum = 0;
  for (size_t i = 0; i < x.count(); ++i) sum += x[i].value * y[i].value;
  return sum;
}

/// Returns the gradient of loss() with respect to x by central differences. `loss` reads x; x is
/// unchanged on return.
template <class Loss>
Array numeric_gradient(Array& x, Loss loss) {
  // for values near 1, rounding and truncation errors are below 1e-8
  constexpr double kStep = 2e-5;
  Array gradient(x.shape());
  for (size_t i = 0; i < x.count(); ++i) {
    const Real kept = x[i];
    x[i] = kept.value + kStep;
    const double above = loss();
    x[i] = kept.value - kStep;
    gradient[i] = (above - loss()) / (2 * kStep);
    x[i] = kept;
  }
  return gradient;
}

}  // namespace mmrec::reference
