#pragma once

#include "runtime/kernel_registry.h"
#include "runtime/ops/weight.h"

namespace mmrec::ops {

/// Calls body(operand), where operand(weight) is what the kernel reads.
template <class Body>
void with_operands(const Kernel& kernel, bool packed, const Body& body) {
  if (packed && kernel.bf16())
    body([](const Weight& weight) { return weight.packed_pairs(); });
  else
    body([](const Weight& weight) -> const Tensor& { return weight.operand(); });
}

}  // namespace mmrec::ops
