#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>

#include "runtime/tensor.h"

namespace mmrec {

/// Non-owning view of what an operation's forward pass keeps for its backward pass. The elements
/// are floats, or bfloat16 where the operation's factors are (Precision::kBf16): half the memory
/// and traffic.
class SavedTensor {
 public:
  SavedTensor() = default;
  template <std::convertible_to<Tensor> Floats>
  SavedTensor(const Floats& floats) : view_(static_cast<Tensor>(floats)) {}
  SavedTensor(const Bf16Tensor& halves) : view_(halves) {}

  bool bf16() const { return std::holds_alternative<Bf16Tensor>(view_); }
  /// Calls body with the view, a Tensor or a Bf16Tensor.
  template <class Body>
  decltype(auto) visit(Body&& body) const {
    return std::visit(std::forward<Body>(body), view_);
  }
  int size(int axis) const {
    return visit([&](const auto& view) { return view.size(axis); });
  }
  int64_t count() const {
    return visit([](const auto& view) { return view.count(); });
  }
  std::string shape_string() const {
    return visit([](const auto& view) { return view.shape_string(); });
  }
  /// Returns the part [begin, end) of the outermost axis.
  SavedTensor rows(int begin, int end) const {
    return visit([&](const auto& view) { return SavedTensor(view.rows(begin, end)); });
  }

 private:
  std::variant<Tensor, Bf16Tensor> view_;
};

}  // namespace mmrec
