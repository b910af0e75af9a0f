#include "python/array.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <limits>
#include <string_view>
#include <type_traits>
#include <vector>

#include "support/error.h"

namespace mmrec::python {

namespace {

/// Returns "an array of float64", or "a list".
std::string describe(nb::handle object) {
  if (!nb::hasattr(object, "dtype"))
    return fmt::format("of type {}", nb::type_name(object.type()).c_str());
  const nb::object dtype = object.attr("dtype");
  return fmt::format("an array of {}", nb::steal<nb::str>(PyObject_Str(dtype.ptr())).c_str());
}

}  // namespace

template <class T>
Array<T>::Array(const char* name, nb::handle object, Access access) : name_(name) {
  constexpr const char* kDtype = std::is_same_v<T, float> ? "float32" : "int32";
  constexpr const char* kFormat = std::is_same_v<T, float> ? "f" : "i";
  const bool has_buffer =
      PyObject_GetBuffer(object.ptr(), &buffer_, PyBUF_STRIDES | PyBUF_FORMAT) == 0;
  std::string_view format = has_buffer ? buffer_.format : "";
  const bool is_aligned = !format.starts_with('=');  // what NumPy writes before it otherwise
  if (!is_aligned) format.remove_prefix(1);
  if (format != kFormat) {
    PyErr_Clear();
    PyBuffer_Release(&buffer_);
    throw nb::type_error(fmt::format("{} must be a NumPy array of {}, and is {}; "
                                     "numpy.asarray({}, dtype=numpy.{}) makes one",
                                     name, kDtype, describe(object), name, kDtype)
                             .c_str());
  }
  try {
    if (!is_aligned)
      fail_usage(
          "{} is unaligned: its memory begins within an element; numpy.array({}) makes a copy "
          "that is aligned",
          name, name);
    if (access == Access::kWrite && buffer_.readonly)
      fail_usage("{} is read-only; give an array that can be written", name);
    is_transposed_ = rank() == 2 && !PyBuffer_IsContiguous(&buffer_, 'C') &&
                     PyBuffer_IsContiguous(&buffer_, 'F');
    if (!is_transposed_) require_contiguous();
    for (const Py_ssize_t extent : shape())
      if (extent > std::numeric_limits<int>::max())
        fail_usage("{} has the shape [{}]; no axis may have 2^31 elements or more", name,
                   fmt::join(shape(), ", "));
  } catch (...) {
    PyBuffer_Release(&buffer_);
    throw;
  }
}

template <class T>
void Array<T>::require_contiguous() const {
  if (PyBuffer_IsContiguous(&buffer_, 'C')) return;
  fail_usage(
      "{} is strided: its elements do not lie one after the other in memory; "
      "numpy.ascontiguousarray({}) makes a copy whose elements do",
      name_, name_);
}

template <class T>
TensorView<T> Array<T>::view(std::span<const Py_ssize_t> shape) const {
  const std::vector<int> extents(shape.begin(), shape.end());
  return {data(), extents};
}

template <class T>
TensorView<T> Array<T>::tensor() const {
  require_contiguous();
  return view(shape());
}

template <class T>
TensorView<T> Array<T>::matrix() const {
  if (rank() != 2)
    fail_usage("{} must be a matrix, and has the shape [{}]", name_, fmt::join(shape(), ", "));
  if (!is_transposed_) return view(shape());
  const Py_ssize_t transposed[] = {shape()[1], shape()[0]};
  return view(transposed);
}

template <class T>
TensorView<T> Array<T>::rows() const {
  require_contiguous();
  if (rank() == 0) fail_usage("{} must have an axis, and is a single number", name_);
  const Py_ssize_t last = shape().back(), rows[] = {last == 0 ? 0 : count() / last, last};
  return view(rows);
}

template class Array<float>;
template class Array<int32_t>;

void check_apart(const Array<float>& out, const Array<float>& in) {
  if (out.data() < in.data() + in.count() && in.data() < out.data() + out.count())
    fail_usage("{} and {} have a part of their memory in common; give {} memory of its own",
               out.name(), in.name(), out.name());
}

}  // namespace mmrec::python
