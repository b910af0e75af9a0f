#pragma once

#include <nanobind/nanobind.h>

#include <span>
#include <string>

#include "train/library/kernels.h"

namespace mmrec::python {

namespace nb = nanobind;

/// A NumPy array that a caller gave, seen in place. Construct and destroy it with the GIL.
template <class T>
class Array {
 public:
  enum class Access { kRead, kWrite };

  /// name: of the argument, for messages. Throws a TypeError for what is no array of T, and a
  /// UsageError for an array that cannot be used in place: strided, unless its transpose is not,
  /// or read-only where it is to be written.
  Array(const char* name, nb::handle object, Access access = Access::kRead);
  ~Array() { PyBuffer_Release(&buffer_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  const char* name() const { return name_; }
  int rank() const { return buffer_.ndim; }
  int64_t count() const { return buffer_.len / static_cast<int64_t>(sizeof(T)); }
  std::span<const Py_ssize_t> shape() const {
    return {buffer_.shape, static_cast<size_t>(buffer_.ndim)};
  }
  T* data() const { return static_cast<T*>(buffer_.buf); }
  std::span<T> elements() const { return {data(), static_cast<size_t>(count())}; }
  /// Whether it is a matrix whose transpose is contiguous, and not the matrix itself.
  bool is_transposed() const { return is_transposed_; }

  /// Throws a UsageError unless the array itself is contiguous.
  TensorView<T> tensor() const;
  /// The matrix that lies contiguously in memory: the transpose if is_transposed().
  TensorView<T> matrix() const;
  /// With all axes but the last one as one.
  TensorView<T> rows() const;

 private:
  TensorView<T> view(std::span<const Py_ssize_t> shape) const;
  void require_contiguous() const;

  const char* name_;
  Py_buffer buffer_{};
  bool is_transposed_ = false;
};

/// Throws a UsageError if the arrays have a part of their memory in common.
void check_apart(const Array<float>& out, const Array<float>& in);

}  // namespace mmrec::python
