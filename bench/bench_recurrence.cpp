#include "bench/case.h"
#include "runtime/ops/recurrence.h"

namespace mmrec::bench {

namespace {

struct Shape {
  int T, B, D;
};
/// Whole sequences.
constexpr Shape kShapes[] = {{256, 1, 128}, {256, 2, 128}, {256, 4, 128}, {256, 8, 128}, {256, 16, 128}, {256, 2, 256}, {256, 2, 512}};

/// Packed weights of the size that they have at the start of a training run.
ops::RecurrenceWeights packed_weights(Operands& o, int D) {
  const int padded = ops::recurrence_padded(D);
  return {o.uniform({D, 2, padded}, -0.1f, 0.1f), o.uniform({2, D, padded}, -0.1f, 0.1f)};
}

}  // namespace

void add_recurrence(Cases& cases) {
  for (const Shape& shape : kShapes) {
    const int T = shape.T, B = shape.B, D = shape.D;
    // The matrix products of every step, s and g together.
    const double flops = 4. * T * B * D * D;
    // The weights once, and of each step's arrays of D columns 6 forward and 10 backward.
    const double weights = 8. * D * D, array = 4. * T * B * D;
    // As in the model: z is a quarter of the projection's columns, and the decay serves as gamma too.
    cases.add({.op = "recurrence", .pass = kForward, .sizes = {T, B, D}, .flops = flops, .bytes = weights + 6 * array, .prepare = [=](Operands& o) {
                 const ops::RecurrenceWeights packed = packed_weights(o, D);
                 const Tensor bias = o.uniform({D}), mdi_input = o.uniform({T, B, D}), z = o.uniform({T, B, 4 * D}).columns(3 * D, 4 * D);
                 const Tensor gm = o.uniform({T, B, D}, 0.1f, 0.7f), state = o.uniform({T + 1, B, D}), gates = o.zeros({T, B, 2 * D});
                 return [=] { ops::recurrence_forward(packed, bias, mdi_input, z, gm, gm, state, gates); };
               }});
    cases.add({.op = "recurrence", .pass = kBackward, .sizes = {T, B, D}, .flops = flops, .bytes = weights + 10 * array, .prepare = [=](Operands& o) {
                 const ops::RecurrenceWeights packed = packed_weights(o, D);
                 const Tensor dstate = o.uniform({T, B, D}), gates = o.uniform({T, B, 2 * D}, 0.2f, 0.8f),
                              z = o.uniform({T, B, 4 * D}).columns(3 * D, 4 * D);
                 const Tensor gm = o.uniform({T, B, D}, 0.1f, 0.7f), state = o.uniform({T + 1, B, D}), dpre = o.zeros({T, B, 2 * D});
                 const Tensor dz = o.zeros({T, B, 4 * D}).columns(3 * D, 4 * D), dgamma = o.zeros({T, B, D}), dstate_in = o.zeros({B, D});
                 return [=] { ops::recurrence_backward(packed, dstate, gates, z, gm, gm, state, dpre, dz, dgamma, dstate_in); };
               }});
  }
  for (const int D : {128, 256, 512})
    cases.add({.op = "recurrence", .pass = {"pack", "pack"}, .sizes = {D}, .flops = 0, .bytes = 24. * D * D, .prepare = [D](Operands& o) {
                 const Tensor core_gate = o.uniform({D, D}), mdi_gate = o.uniform({D, 2 * D}).columns(D, 2 * D);
                 const ops::RecurrenceWeights packed = packed_weights(o, D);
                 return [=] { ops::recurrence_pack(core_gate, mdi_gate, packed); };
               }});
}

}  // namespace mmrec::bench
