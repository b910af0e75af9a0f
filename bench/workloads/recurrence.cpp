#include "bench/reference/recurrence.h"

#include <memory>

#include "bench/harness/print.h"
#include "bench/harness/read_stream.h"
#include "bench/workloads/workloads.h"
#include "runtime/ops/recurrence.h"
#include "runtime/threads.h"

namespace mmrec::bench {

namespace {

/// Lengths of a single sequence, and the numbers of pieces in which they are timed.
constexpr int kLongSequences[] = {512, 2048, 8192, 65536}, kPieces[] = {1, 4, 8, 16};

/// The gates' weights, with values as at the start of training, and memory for their packed form.
/// As in the model, the mdi gate is one half of a wider matrix.
struct Gates {
  Gates(Operands& o, int D)
      : core(o.uniform({D, D}, -0.1f, 0.1f)),
        mdi(o.uniform({D, 2 * D}, -0.1f, 0.1f).columns(D, 2 * D)),
        packed{o.output({ops::recurrence_panels(D), ops::recurrence_rows(D, precision()), 2,
                         kRecurrencePanel}),
               o.output({ops::recurrence_panels(D), D, 2, kRecurrencePanel})} {}

  void pack() const {
    if (precision() == Precision::kInt8)
      for (const Tensor& gate : {core, mdi}) ops::round_to_int8(gate);
    ops::recurrence_pack(core, mdi, packed);
  }

  Tensor core, mdi;
  ops::RecurrenceWeights packed;
};

/// Adds the lower bound for small B: rows that only read the weights T times, on one core or split
/// over all threads. The rows' speed-up shows how many times longer a step takes.
void add_limits(Cases& cases, const Workload& work, int T, int D) {
  const int64_t count = 2LL * D * ops::recurrence_padded(D);
  for (const bool all_cores : {false, true}) {
    Workload limit = work;
    limit.flops = 0;
    limit.bytes = 4. * static_cast<double>(T * count);
    limit.prepare = [=](Operands& o) {
      const Tensor weights = o.uniform({D, 2, ops::recurrence_padded(D)}, -0.1f, 0.1f);
      return Invocation{
          .run = [=] { read_in_parts(weights.data(), count, all_cores ? num_threads() : 1, T); }};
    };
    cases.add_limit(limit, all_cores ? "weights_all_cores" : "weights_one_core");
  }
}

/// With bfloat16 factors the first half of the memory has pairs of k, as floats of the same bits.
Expected packed(const char* name, const Tensor& memory, const reference::Array& want) {
  if (precision() == Precision::kFloat32) return {name, memory, want};
  const int panels = want.size(0), D = want.size(1), pairs = (D + 1) / 2;
  reference::Array both({panels, pairs, 2, kRecurrencePanel});
  for (int panel = 0; panel < panels; ++panel)
    for (int pair = 0; pair < pairs; ++pair)
      for (int gate = 0; gate < 2; ++gate)
        for (int column = 0; column < kRecurrencePanel; ++column) {
          const auto weight = [&](int k) {
            return k < D ? static_cast<float>(want(panel, k, gate, column).value) : 0.f;
          };
          both(panel, pair, gate, column) = bf16_pair(weight(2 * pair), weight(2 * pair + 1));
        }
  return {name, Tensor(memory.data(), both.shape()), both};
}

Workload packing(int D) {
  return {.op = "recurrence",
          .pass = {"pack", "pack"},
          .sizes = {D},
          .flops = 0,
          .bytes = 24. * D * D,
          .prepare = [D](Operands& o) {
            const Gates gates(o, D);
            return Invocation{.run = [=] { gates.pack(); },
                              .expect = [=]() -> std::vector<Expected> {
                                const reference::RecurrencePacked want =
                                    reference::recurrence_pack(gates.core, gates.mdi);
                                return {packed("forward", gates.packed.forward, want.forward),
                                        packed("backward", gates.packed.backward, want.backward)};
                              }};
          }};
}

/// A pass over whole sequences. `pieces`: number of pieces they are cut into, side by side. A run
/// writes the length of the second pass to `second_pass`.
Workload sequences(std::string_view pass, const std::vector<int>& sizes, int pieces,
                   const std::shared_ptr<int>& second_pass = std::make_shared<int>()) {
  const int T = sizes.at(0), B = sizes.at(1), D = sizes.at(2);
  // both matrix products of every step, for s and g
  const double flops = 4. * T * B * D * D;
  // Read the weights once. Each step reads and writes arrays [B][D]: 6 forward, 10 backward.
  const double weights = 8. * D * D, array = 4. * T * B * D;
  const bool forward = pass == kForward.registry;
  return {.op = "recurrence",
          .pass = forward ? kForward : kBackward,
          .sizes = sizes,
          .flops = flops,
          .bytes = weights + (forward ? 6 : 10) * array,
          .prepare = [=](Operands& o) -> Invocation {
            // As in the model, z is a quarter of the projection's columns. gm also serves as gamma.
            const Gates gates(o, D);
            const Tensor bias = o.uniform({D}), mdi_input = o.uniform({T, B, D}),
                         z = o.uniform({T, B, 4 * D}).columns(3 * D, 4 * D);
            const Tensor gm = o.uniform({T, B, D}, 0.1f, 0.7f), state = o.uniform({T + 1, B, D}),
                         sigmoids = o.output({T, B, 2 * D});
            const auto run_forward = [=] {
              *second_pass = ops::recurrence_forward_in_pieces(
                  pieces, gates.packed, bias, mdi_input, z, gm, gm, state, sigmoids);
            };
            const auto inputs = [=] {
              return reference::RecurrenceInputs{gates.core, gates.mdi, bias, mdi_input,
                                                 z,          gm,        gm,   state.at(0)};
            };
            if (forward)
              return {.before = [=] { gates.pack(); },
                      .run = run_forward,
                      .expect = [=]() -> std::vector<Expected> {
                        const reference::Recurrence want = reference::recurrence_forward(inputs());
                        return {{"state", state, want.state}, {"gates", sigmoids, want.gates}};
                      }};
            const Tensor dstate = o.uniform({T, B, D}), dpre = o.output({T, B, 2 * D}),
                         dz = o.output({T, B, 4 * D}).columns(3 * D, 4 * D);
            const Tensor dgamma = o.output({T, B, D}), dstate_in = o.output({B, D});
            return {.before =
                        [=] {
                          gates.pack();
                          run_forward();
                        },
                    .run =
                        [=] {
                          *second_pass = ops::recurrence_backward_in_pieces(
                              pieces, gates.packed, dstate, sigmoids, z, gm, gm, state, dpre, dz,
                              dgamma, dstate_in);
                        },
                    .expect = [=]() -> std::vector<Expected> {
                      const reference::RecurrenceGradient want =
                          reference::recurrence_backward(dstate, inputs());
                      return {{"dpre", dpre, want.dpre},
                              {"dz", dz, want.dz},
                              {"dgamma", dgamma, want.dgamma},
                              {"dstate_in", dstate_in, want.dstate_in}};
                    }};
          }};
}

Workload sequences(std::string_view pass, const std::vector<int>& sizes) {
  return sequences(pass, sizes, ops::recurrence_pieces(sizes.at(0), sizes.at(1)));
}

/// The registry's sizes are those of a step, [B, D]. `sizes` may have T before them.
Workload workload(std::string_view pass, const std::vector<int>& sizes) {
  if (pass == "pack") return packing(sizes.back());
  if (sizes.size() > 2) return sequences(pass, sizes);
  // Larger batches are split over the threads; a kernel call must get B sequences.
  const int B = sizes.at(0) < 4 ? sizes.at(0) : sizes.at(0) * num_threads();
  return sequences(pass, {64, B, sizes.at(1)});
}

void add(Cases& cases) {
  const std::vector<std::vector<int>> whole_sequences = {
      {256, 1, 128}, {256, 2, 128},  {256, 3, 128}, {256, 4, 128}, {128, 6, 128},
      {256, 8, 128}, {256, 16, 128}, {256, 1, 256}, {256, 2, 256}, {64, 8, 256},
      {64, 1, 512},  {64, 2, 512},   {64, 8, 512}};
  for (const std::vector<int>& sizes : whole_sequences)
    for (const Pass& pass : {kForward, kBackward}) {
      const Workload work = workload(pass.registry, sizes);
      cases.add(work);
      if (const int T = sizes[0], B = sizes[1], D = sizes[2]; B <= 2) add_limits(cases, work, T, D);
    }
  for (const int T : kLongSequences)
    for (const Pass& pass : {kForward, kBackward})
      for (const int pieces : kPieces)
        if (T / pieces >= 128)
          cases.add(sequences(pass.registry, {T, 1, 128}, pieces),
                    pieces == 1 ? "sequence" : fmt::format("{}_pieces", pieces));
  for (const int D : {128, 256, 512}) cases.add(packing(D));
}

}  // namespace

void print_second_passes(uint64_t seed) {
  print_line("\nSteps of a piece, and of its second pass, forward and backward:");
  for (const int T : kLongSequences)
    for (const int pieces : kPieces)
      if (pieces > 1 && T / pieces >= 128) {
        const auto steps = std::make_shared<int>();
        const Prepared forward(sequences("forward", {T, 1, 128}, pieces, steps), seed);
        forward();
        const int forward_steps = *steps;
        const Prepared backward(sequences("backward", {T, 1, 128}, pieces, steps), seed);
        backward();
        print_line("{}x1x128 in {} pieces: {}, {}, {}{}", T, pieces, T / pieces, forward_steps,
                   *steps, pieces == ops::recurrence_pieces(T, 1) ? "  default" : "");
      }
}

Description describe_recurrence() {
  return {
      .workload = workload,
      .tested = crossed(
          {0, 1, 2, 5}, crossed({0, 1, 2, 3, 4, 7, 9}, {{1}, {3}, {16}, {17}, {48}, {64}, {65}}),
          // Cases with several tasks: many sequences, and the units of a few sequences.
          {{9, 5, 130}, {3, 1, 200}, {3, 2, 200}, {3, 3, 200}, {4, 33, 65}, {6, 2, 150}}),
      .add = add};
}

}  // namespace mmrec::bench
