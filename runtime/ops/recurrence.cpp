#include "runtime/ops/recurrence.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "runtime/kernel_registry.h"
#include "runtime/lockstep.h"
#include "runtime/scratch.h"
#include "runtime/threads.h"
#include "support/error.h"

namespace mmrec::ops {

namespace {

/// The sequences of a batch are independent: each thread takes a group of sequences through all
/// time steps. With fewer than 4 sequences a group would hold only one, and every thread would
/// stream all weights for a single sequence.
constexpr int kLeastGrouped = 4;

template <class Body>
void for_sequence_groups(int B, const Body& body) {
  const int groups = B < kLeastGrouped ? 1 : std::min(num_threads(), B / 2);
  parallel_for(groups, [&](int group) { body(B * group / groups, B * (group + 1) / groups); });
}

/// A range of units of a step, and the end of its columns in the packed weights (whole tiles).
struct Units {
  int begin, end, padded_end;
};

/// Divides the units into parts of whole tiles. For batches too small for groups of sequences.
struct UnitParts {
  explicit UnitParts(int D)
      : D(D),
        tiles(recurrence_padded(D) / kRecurrenceTile),
        count(std::min(tiles, max_lockstep_parts())) {}
  Units operator[](int part) const {
    const int padded_end = tiles * (part + 1) / count * kRecurrenceTile;
    return {tiles * part / count * kRecurrenceTile, std::min(D, padded_end), padded_end};
  }
  int D, tiles, count;
};

/// Runs the steps [begin, end) divided among the cores or on one of them, whichever is faster; both
/// take (begin, end). Divided steps exchange the state: on cores that share a cache that pays, on
/// others it takes longer than all of a small step. Where a virtual machine's cores are changes
/// while it runs, so each call tries.
template <class Divided, class Alone>
void run_faster(int begin, int end, const Divided& divided, const Alone& alone) {
  constexpr int kWarm = 8, kDivided = 16, kAlone = 8;  // fewer alone than let idle threads sleep
  if (end - begin < 4 * (kWarm + kDivided + kAlone)) return divided(begin, end);
  const auto seconds_a_step = [&](const auto& run, int steps) {
    const auto start = std::chrono::steady_clock::now();
    run(begin, begin + steps);
    begin += steps;
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / steps;
  };
  seconds_a_step(divided, kWarm);
  const double when_divided = seconds_a_step(divided, kDivided);
  if (seconds_a_step(alone, kAlone) < when_divided)
    alone(begin, end);
  else
    divided(begin, end);
}

/// The rows of some sequences in a time-major tensor, at a movable time.
struct Rows {
  Rows(const Tensor& sequence, int begin, int end)
      : view(sequence.at(0).rows(begin, end)), stride(sequence.stride(0)), at_zero(view.data()) {}
  void move_to(int t) { view.set_data(at_zero + static_cast<int64_t>(t) * stride); }
  Tensor view;
  int64_t stride;
  float* at_zero;
};

/// The steps of a forward pass. All tensors but the weights and the bias are [T][B][D];
/// previous[t] = h_{t-1}, next[t] = h_t.
struct ForwardSteps {
  Tensor packed, bias, mdi_input, z, gamma, gm, previous, next, s, g;

  /// Runs the steps [begin, end) of all sequences.
  void run(int begin, int end) const;
};

/// The steps of a backward pass; as above. carry [B][D]: the gradient that reaches h_{end-1} from
/// later steps, replaced by that of h_{begin-1}.
struct BackwardSteps {
  Tensor packed, dstate, s, g, z, gamma, gm, previous, ds, dg, dz, dgamma, carry;

  void run(int begin, int end) const;
};

/// Calls body with packed weights as the kernels take them: floats, or pairs of bfloat16 along k in
/// the first half of the same memory.
template <class Body>
void with_factors(const Kernel& kernel, const Tensor& packed, const Body& body) {
  if (kernel.bf16())
    body(IntTensor(reinterpret_cast<int32_t*>(packed.data()),
                   {packed.size(0), (packed.size(1) + 1) / 2, 2, kRecurrencePanel}));
  else
    body(packed);
}

ByteTensor int8_panels(const Tensor& packed) {
  return {reinterpret_cast<int8_t*>(packed.data()),
          {packed.size(0), 4 * packed.size(1), 2, kRecurrencePanel}};
}

/// Checks the shape of packed weights.
void check_panels(const char* what, const Tensor& packed, int D) {
  check_shape(what, packed,
              {recurrence_panels(D), recurrence_rows(D, precision()), 2, kRecurrencePanel});
}

void pack_gates_int8(const Tensor& core_gate, const Tensor& mdi_gate, const Tensor& packed) {
  const int D = core_gate.size(0);
  const ByteTensor panels = int8_panels(packed);
  set_zero(packed);
  for (int gate = 0; gate < 2; ++gate)
    for (int d = 0; d < D; ++d)
      pack_int8(
          {(gate == 0 ? core_gate : mdi_gate).at(d).data(), static_cast<size_t>(D)},
          panels.at(d / kRecurrencePanel).data() + gate * kRecurrencePanel + d % kRecurrencePanel,
          2 * kRecurrencePanel);
}

void ForwardSteps::run(int begin, int end) const {
  static Kernel kernel("recurrence", "forward");
  const int B = z.size(1), D = z.size(2);
  const auto take_steps = [&](const auto& weights) {
    // Returns a callable that runs step t for the sequences [first, last) and a range of units.
    const auto steps = [&](int first, int last, Units units) {
      const auto all = [&](const Tensor& tensor) { return Rows(tensor, first, last); };
      const auto own = [&](const Tensor& tensor) {
        return Rows(tensor.columns(units.begin, units.end), first, last);
      };
      return
          [=, flops = 4.0 * (last - first) * (units.end - units.begin) * D,
           part = weights.rows(units.begin / kRecurrencePanel, units.padded_end / kRecurrencePanel),
           part_bias = bias.columns(units.begin, units.end),
           rows = std::array{own(mdi_input), own(z), own(gamma), own(gm), all(previous),
                             own(previous), own(next), own(s), own(g)}](int t) mutable {
            for (Rows& row : rows) row.move_to(t);
            const auto& [mdi_input_t, z_t, gamma_t, gm_t, h_previous, own_previous, h_t, s_t, g_t] =
                rows;
            kernel({.flops = flops, .sizes = {last - first, D}}, part, part_bias, mdi_input_t.view,
                   z_t.view, gamma_t.view, gm_t.view, h_previous.view, own_previous.view, h_t.view,
                   s_t.view, g_t.view);
          };
    };
    const auto grouped = [&](int begin, int end) {
      for_sequence_groups(B, [&](int first, int last) {
        auto step = steps(first, last, {0, D, recurrence_padded(D)});
        for (int t = begin; t < end; ++t) step(t);
      });
    };
    const UnitParts parts(D);
    if (B >= kLeastGrouped || parts.count == 1 || end - begin == 1) return grouped(begin, end);
    const auto divided = [&](int begin, int end) {
      lockstep(parts.count, end - begin, [&](int part) {
        return [step = steps(0, B, parts[part]), begin](int t) mutable { step(begin + t); };
      });
    };
    run_faster(begin, end, divided, grouped);
  };
  if (kernel.factors() == Precision::kInt8)
    take_steps(int8_panels(packed));
  else
    with_factors(kernel, packed, take_steps);
}

void BackwardSteps::run(int begin, int end) const {
  static Kernel kernel("recurrence", "backward");
  const int B = z.size(1), D = z.size(2);
  with_factors(kernel, packed, [&](const auto& weights) {
    for_sequence_groups(B, [&](int first, int last) {
      const auto own = [&](const Tensor& tensor) { return Rows(tensor, first, last); };
      std::array<Rows, 11> rows{own(dstate),   own(s),  own(g),  own(z),  own(gamma), own(gm),
                                own(previous), own(ds), own(dg), own(dz), own(dgamma)};
      auto& [dstate_t, s_t, g_t, z_t, gamma_t, gm_t, h_previous, ds_t, dg_t, dz_t, dgamma_t] = rows;
      const Tensor own_carry = carry.rows(first, last);
      for (int t = end - 1; t >= begin; --t) {
        for (Rows& row : rows) row.move_to(t);
        kernel({.flops = 4.0 * (last - first) * D * D, .sizes = {last - first, D}}, weights,
               dstate_t.view, own_carry, s_t.view, g_t.view, z_t.view, gamma_t.view, gm_t.view,
               h_previous.view, ds_t.view, dg_t.view, dz_t.view, dgamma_t.view, own_carry);
      }
    });
  });
}

/// Steps between two comparisons of the second pass, and the largest difference, relative to the
/// largest element, with which two passes agree. A smaller one would be lost in rounding, which
/// keeps two passes apart by some units of the last place for ever.
constexpr int kBlock = 64;
constexpr float kAgreement = 2.5e-7f;

/// T steps of one sequence seen as `count` sequences of `steps` steps, and a rest of fewer than
/// `count` steps.
struct Pieces {
  int count, steps;

  /// [T][1][C] -> [steps][count][C]
  Tensor operator()(const Tensor& sequence) const {
    return sequence.rows(0, count * steps).reshape({count, steps, sequence.size(2)}).swap_outer();
  }
  int end() const { return count * steps; }
  int blocks() const { return (steps + kBlock - 1) / kBlock; }
  int block_end(int block) const { return std::min(steps, (block + 1) * kBlock); }
};

Pieces cut(int pieces, int T, int B) {
  if (B != 1) fail("recurrence: only a single sequence can be cut into pieces, not {}", B);
  if (pieces < 1 || T / pieces < 2 * kBlock)
    fail("recurrence: {} steps cannot be cut into {} pieces of {} steps or more", T, pieces,
         2 * kBlock);
  return {pieces, T / pieces};
}

float largest(const Tensor& rows) {
  float most = 0;
  for (int b = 0; b < rows.size(0); ++b)
    for (const float* value = rows.at(b).data(); value != rows.at(b).data() + rows.size(1); ++value)
      most = std::max(most, std::abs(*value));
  return most;
}

/// Returns whether the rows differ by `allowed` at most. Numbers that are not finite never agree.
bool agree(const Tensor& a, const Tensor& b, float allowed) {
  if (!std::isfinite(allowed)) return false;
  for (int row = 0; row < a.size(0); ++row)
    for (int d = 0; d < a.size(1); ++d)
      if (!(std::abs(a.at(row).data()[d] - b.at(row).data()[d]) <= allowed)) return false;
  return true;
}

}  // namespace

int recurrence_pieces(int T, int B) {
  // Two passes would stay further apart than kAgreement: a state that rounds to another bfloat16
  // moves the next one by that much.
  if (B != 1 || T < 2048 || precision() == Precision::kBf16) return 1;
  // The second pass takes about as many steps for any number of pieces: its share of the time grows
  // with pieces / T. A power of 2 fills the kernels' tiles.
  int pieces = 4;
  while (T / pieces >= 512 * pieces) pieces *= 2;
  return pieces;
}

void recurrence_pack(const Tensor& core_gate, const Tensor& mdi_gate,
                     const RecurrenceWeights& packed) {
  check_shape("recurrence_pack: core_gate", core_gate, {-1, core_gate.size(0)});
  const int D = core_gate.size(0);
  check_shape("recurrence_pack: mdi_gate", mdi_gate, {D, D});
  check_panels("recurrence_pack: forward", packed.forward, D);
  if (precision() == Precision::kInt8) return pack_gates_int8(core_gate, mdi_gate, packed.forward);
  check_panels("recurrence_pack: backward", packed.backward, D);
  static Kernel kernel("recurrence", "pack");
  const Sizes sizes{0, D};  // packing has no batch
  with_factors(kernel, packed.forward, [&](const auto& forward) {
    with_factors(kernel, packed.backward, [&](const auto& backward) {
      if constexpr (std::is_same_v<decltype(forward), decltype(backward)>)
        kernel({.sizes = sizes}, core_gate, mdi_gate, forward, backward);
    });
  });
}

void recurrence_forward(const RecurrenceWeights& packed, const Tensor& core_bias,
                        const Tensor& mdi_input, const Tensor& z, const Tensor& gamma,
                        const Tensor& gm, const Tensor& state, const Tensor& gates) {
  check_shape("recurrence_forward: z", z, {-1, -1, -1});
  recurrence_forward_in_pieces(recurrence_pieces(z.size(0), z.size(1)), packed, core_bias,
                               mdi_input, z, gamma, gm, state, gates);
}

int recurrence_forward_in_pieces(int pieces, const RecurrenceWeights& packed,
                                 const Tensor& core_bias, const Tensor& mdi_input, const Tensor& z,
                                 const Tensor& gamma, const Tensor& gm, const Tensor& state,
                                 const Tensor& gates) {
  check_shape("recurrence_forward: z", z, {-1, -1, -1});
  const int T = z.size(0), B = z.size(1), D = z.size(2);
  check_panels("recurrence_forward: packed", packed.forward, D);
  check_shape("recurrence_forward: core_bias", core_bias, {D});
  for (const Tensor& input : {mdi_input, gamma, gm})
    check_shape("recurrence_forward: mdi_input, gamma, gm", input, {T, B, D});
  check_shape("recurrence_forward: state", state, {T + 1, B, D});
  check_shape("recurrence_forward: gates", gates, {T, B, 2 * D});
  if (z.count() == 0) return 0;

  const Tensor previous = state.rows(0, T), next = state.rows(1, T + 1), s = gates.columns(0, D),
               g = gates.columns(D, 2 * D);
  const ForwardSteps whole{packed.forward, core_bias, mdi_input, z, gamma, gm,
                           previous,       next,      s,         g};
  if (pieces == 1) {
    whole.run(0, T);
    return 0;
  }
  const Pieces cut_up = cut(pieces, T, B);
  const ForwardSteps side_by_side{packed.forward, core_bias,  cut_up(mdi_input), cut_up(z),
                                  cut_up(gamma),  cut_up(gm), cut_up(previous),  cut_up(next),
                                  cut_up(s),      cut_up(g)};
  // The last state of a piece is where the next piece reads its first: after the first pass every
  // piece finds the end of the one before it. Blocks keep a thread from writing it too early.
  for (int piece = 1; piece < pieces; ++piece) set_zero(state.at(piece * cut_up.steps));
  float most = 0;
  for (int block = 0; block < cut_up.blocks(); ++block) {
    side_by_side.run(block * kBlock, cut_up.block_end(block));
    most = std::max(most, largest(side_by_side.next.at(cut_up.block_end(block) - 1)));
  }
  const Scratch memory(sizeof(float) * pieces * D);
  const Tensor first_pass(memory.data<float>(), {pieces, D});
  const int corrected = [&] {
    for (int block = 0; block < cut_up.blocks(); ++block) {
      const Tensor h = side_by_side.next.at(cut_up.block_end(block) - 1);
      copy_values(h, first_pass);
      side_by_side.run(block * kBlock, cut_up.block_end(block));
      if (agree(h, first_pass, kAgreement * most)) return cut_up.block_end(block);
    }
    whole.run(0, cut_up.end());
    return T;
  }();
  if (cut_up.end() < T) whole.run(cut_up.end(), T);
  return corrected;
}

void recurrence_backward(const RecurrenceWeights& packed, const Tensor& dstate, const Tensor& gates,
                         const Tensor& z, const Tensor& gamma, const Tensor& gm,
                         const Tensor& state, const Tensor& dpre, const Tensor& dz,
                         const Tensor& dgamma, const Tensor& dstate_in) {
  check_shape("recurrence_backward: z", z, {-1, -1, -1});
  recurrence_backward_in_pieces(recurrence_pieces(z.size(0), z.size(1)), packed, dstate, gates, z,
                                gamma, gm, state, dpre, dz, dgamma, dstate_in);
}

int recurrence_backward_in_pieces(int pieces, const RecurrenceWeights& packed, const Tensor& dstate,
                                  const Tensor& gates, const Tensor& z, const Tensor& gamma,
                                  const Tensor& gm, const Tensor& state, const Tensor& dpre,
                                  const Tensor& dz, const Tensor& dgamma, const Tensor& dstate_in) {
  check_shape("recurrence_backward: z", z, {-1, -1, -1});
  const int T = z.size(0), B = z.size(1), D = z.size(2);
  check_shape("recurrence_backward: packed", packed.backward,
              {recurrence_panels(D), D, 2, kRecurrencePanel});
  for (const Tensor& rows : {dstate, gamma, gm, dz, dgamma})
    check_shape("recurrence_backward: dstate, gamma, gm, dz, dgamma", rows, {T, B, D});
  for (const Tensor& rows : {gates, dpre})
    check_shape("recurrence_backward: gates, dpre", rows, {T, B, 2 * D});
  check_shape("recurrence_backward: state", state, {T + 1, B, D});
  check_shape("recurrence_backward: dstate_in", dstate_in, {B, D});
  set_zero(dstate_in);
  if (z.count() == 0) return 0;

  const Tensor s = gates.columns(0, D), g = gates.columns(D, 2 * D), previous = state.rows(0, T),
               ds = dpre.columns(0, D), dg = dpre.columns(D, 2 * D);
  const BackwardSteps whole{packed.backward, dstate, s,  g,  z,      gamma,    gm,
                            previous,        ds,     dg, dz, dgamma, dstate_in};
  if (pieces == 1) {
    whole.run(0, T);
    return 0;
  }
  const Pieces cut_up = cut(pieces, T, B);
  const int blocks = cut_up.blocks();
  // The carries of the first pass at the beginning of every block, and the current ones.
  const Scratch memory(sizeof(float) * (blocks + 1) * pieces * D);
  const Tensor first_pass(memory.data<float>(), {blocks, pieces, D}),
      carry(memory.data<float>() + first_pass.count(), {pieces, D});
  const BackwardSteps side_by_side{packed.backward,
                                   cut_up(dstate),
                                   cut_up(s),
                                   cut_up(g),
                                   cut_up(z),
                                   cut_up(gamma),
                                   cut_up(gm),
                                   cut_up(previous),
                                   cut_up(ds),
                                   cut_up(dg),
                                   cut_up(dz),
                                   cut_up(dgamma),
                                   carry};
  if (cut_up.end() < T) whole.run(cut_up.end(), T);
  // Every piece but the last begins with a carry of 0.
  set_zero(carry);
  copy_values(dstate_in, carry.rows(pieces - 1, pieces));
  float most = 0;
  for (int block = blocks - 1; block >= 0; --block) {
    side_by_side.run(block * kBlock, cut_up.block_end(block));
    copy_values(carry, first_pass.at(block));
    most = std::max(most, largest(carry));
  }
  // handed_on[p] is the gradient of the state before piece p.
  const Tensor handed_on = first_pass.at(0);
  copy_values(handed_on.rows(1, pieces), carry.rows(0, pieces - 1));
  copy_values(dstate_in, carry.rows(pieces - 1, pieces));
  for (int block = blocks - 1; block >= 0; --block) {
    side_by_side.run(block * kBlock, cut_up.block_end(block));
    if (!agree(carry, first_pass.at(block), kAgreement * most)) continue;
    copy_values(handed_on.rows(0, 1), dstate_in);
    return cut_up.steps - block * kBlock;
  }
  whole.run(0, cut_up.end());
  return T;
}

bool recurrence_backward_on_one_core(int T, int B) {
  return B < kLeastGrouped && recurrence_pieces(T, B) == 1;
}

}  // namespace mmrec::ops
