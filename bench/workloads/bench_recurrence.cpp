#include <algorithm>
#include <atomic>

#include "bench/workloads/workloads.h"
#include "bench/harness/read_stream.h"
#include "runtime/ops/recurrence.h"
#include "runtime/threads.h"

namespace mmrec::bench {

namespace {

struct Shape {
  int T, B, D;
};
/// Whole sequences.
constexpr Shape kShapes[] = {{256, 1, 128}, {256, 2, 128}, {256, 3, 128}, {256, 4, 128}, {128, 6, 128}, {256, 8, 128}, {256, 16, 128},
                             {256, 1, 256}, {256, 2, 256}, {64, 8, 256},  {64, 1, 512},  {64, 2, 512},  {64, 8, 512}};

/// Packed weights of the size that they have at the start of a training run.
ops::RecurrenceWeights packed_weights(Operands& o, int D) {
  const int padded = ops::recurrence_padded(D);
  return {o.uniform({D, 2, padded}, -0.1f, 0.1f), o.uniform({2, D, padded}, -0.1f, 0.1f)};
}

/// The limit at small B: what reads the weights T times and does nothing else, whole on one core, or in as many parts as there
/// are threads. A step takes as many times longer as these rows' speed-up says.
void add_limits(Cases& cases, const Workload& work, int T, int D) {
  const int64_t count = 2LL * D * ops::recurrence_padded(D);
  for (const bool all_cores : {false, true}) {
    Workload limit = work;
    limit.flops = 0;
    limit.bytes = 4. * static_cast<double>(T * count);
    limit.prepare = [=](Operands& o) {
      const Tensor weights = o.uniform({D, 2, ops::recurrence_padded(D)}, -0.1f, 0.1f);
      return [=] {
        const int64_t unit = 128, parts = all_cores ? std::min<int64_t>(num_threads(), count / unit) : 1;
        parallel_for(static_cast<int>(parts), [&](int part) {
          const int64_t begin = count / unit * part / parts * unit, end = count / unit * (part + 1) / parts * unit;
          static std::atomic<float> used;
          for (int t = 0; t < T; ++t) used.store(read_stream(weights.data() + begin, end - begin), std::memory_order_relaxed);
        });
      };
    };
    cases.add_limit(limit, all_cores ? "weights_all_cores" : "weights_one_core");
  }
}

/// A pass over whole sequences.
Workload sequences(std::string_view pass, const Shape& shape) {
  const int T = shape.T, B = shape.B, D = shape.D;
  // The matrix products of every step, s and g together.
  const double flops = 4. * T * B * D * D;
  // The weights once, and of each step's arrays of D columns 6 forward and 10 backward.
  const double weights = 8. * D * D, array = 4. * T * B * D;
  // As in the model: z is a quarter of the projection's columns, and the decay serves as gamma too.
  if (pass == kForward.registry)
    return {.op = "recurrence", .pass = kForward, .sizes = {T, B, D}, .flops = flops, .bytes = weights + 6 * array, .prepare = [=](Operands& o) {
              const ops::RecurrenceWeights packed = packed_weights(o, D);
              const Tensor bias = o.uniform({D}), mdi_input = o.uniform({T, B, D}), z = o.uniform({T, B, 4 * D}).columns(3 * D, 4 * D);
              const Tensor gm = o.uniform({T, B, D}, 0.1f, 0.7f), state = o.uniform({T + 1, B, D}), gates = o.zeros({T, B, 2 * D});
              return [=] { ops::recurrence_forward(packed, bias, mdi_input, z, gm, gm, state, gates); };
            }};
  return {
      .op = "recurrence", .pass = kBackward, .sizes = {T, B, D}, .flops = flops, .bytes = weights + 10 * array, .prepare = [=](Operands& o) {
        const ops::RecurrenceWeights packed = packed_weights(o, D);
        const Tensor dstate = o.uniform({T, B, D}), gates = o.uniform({T, B, 2 * D}, 0.2f, 0.8f), z = o.uniform({T, B, 4 * D}).columns(3 * D, 4 * D);
        const Tensor gm = o.uniform({T, B, D}, 0.1f, 0.7f), state = o.uniform({T + 1, B, D}), dpre = o.zeros({T, B, 2 * D});
        const Tensor dz = o.zeros({T, B, 4 * D}).columns(3 * D, 4 * D), dgamma = o.zeros({T, B, D}), dstate_in = o.zeros({B, D});
        return [=] { ops::recurrence_backward(packed, dstate, gates, z, gm, gm, state, dpre, dz, dgamma, dstate_in); };
      }};
}

Workload packing(int D) {
  return {.op = "recurrence", .pass = {"pack", "pack"}, .sizes = {D}, .flops = 0, .bytes = 24. * D * D, .prepare = [D](Operands& o) {
            const Tensor core_gate = o.uniform({D, D}), mdi_gate = o.uniform({D, 2 * D}).columns(D, 2 * D);
            const ops::RecurrenceWeights packed = packed_weights(o, D);
            return [=] { ops::recurrence_pack(core_gate, mdi_gate, packed); };
          }};
}

}  // namespace

Workload recurrence_workload(std::string_view pass, const std::vector<int>& sizes) {
  constexpr int T = 64;
  const int B = sizes.at(0), D = sizes.at(1);
  if (pass == "pack") return packing(D);
  // Larger batches are divided among the threads; a call is to get B of them.
  return sequences(pass, {T, B < 4 ? B : B * num_threads(), D});
}

void add_recurrence(Cases& cases) {
  for (const Shape& shape : kShapes)
    for (const Pass& pass : {kForward, kBackward}) {
      const Workload work = sequences(pass.registry, shape);
      cases.add(work);
      if (shape.B <= 2) add_limits(cases, work, shape.T, shape.D);
    }
  for (const int D : {128, 256, 512}) cases.add(packing(D));
}

}  // namespace mmrec::bench
