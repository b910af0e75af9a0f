#pragma once

#include "runtime/kernel_registry.h"
#include "runtime/ops/weight.h"
#include "support/error.h"

namespace mmrec::ops {

/// Calls body(operand), where operand(weight) is what the kernel reads. Throws an Error if a weight
/// is packed for kernels of another precision.
template <class Body>
void with_operands(const Kernel& kernel, bool packed, const Body& body) {
  if (!packed) return body([](const Weight& weight) -> const Tensor& { return weight; });
  const auto checked = [&](const Weight& weight) -> const Weight& {
    if (weight.factors != kernel.factors())
      fail("{}.{}: the weight is packed for {}, and the kernels are those for {}", kernel.op(),
           kernel.pass(), dtype_of(weight.factors), dtype_of(kernel.factors()));
    return weight;
  };
  switch (kernel.factors()) {
    case Precision::kFloat32:
      return body([&](const Weight& weight) -> const Tensor& { return checked(weight).packed; });
    case Precision::kBf16:
      return body([&](const Weight& weight) { return checked(weight).packed_pairs(); });
    case Precision::kInt8:
      return body([&](const Weight& weight) { return checked(weight).packed_bytes(); });
  }
}

}  // namespace mmrec::ops
