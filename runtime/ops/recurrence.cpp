#include "runtime/ops/recurrence.h"

#include <algorithm>
#include <array>

#include "runtime/kernel_registry.h"
#include "runtime/lockstep.h"
#include "runtime/threads.h"

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

/// The rows of some sequences in a time-major tensor, at a movable time. At step t the view is at
/// time t + offset.
struct Rows {
  Rows(const Tensor& sequence, int begin, int end, int offset)
      : view(sequence.at(0).rows(begin, end)),
        stride(sequence.stride(0)),
        at_zero(view.data() + static_cast<int64_t>(offset) * stride) {}
  void move_to(int t) { view.set_data(at_zero + static_cast<int64_t>(t) * stride); }
  Tensor view;
  int64_t stride;
  float* at_zero;
};

}  // namespace

void recurrence_pack(const Tensor& core_gate, const Tensor& mdi_gate,
                     const RecurrenceWeights& packed) {
  check_shape("recurrence_pack: core_gate", core_gate, {-1, core_gate.size(0)});
  const int D = core_gate.size(0);
  check_shape("recurrence_pack: mdi_gate", mdi_gate, {D, D});
  check_shape("recurrence_pack: forward", packed.forward, {D, 2, recurrence_padded(D)});
  check_shape("recurrence_pack: backward", packed.backward, {2, D, recurrence_padded(D)});
  static Kernel kernel("recurrence", "pack");
  kernel({.sizes = {0, D}},  // packing has no batch
         core_gate, mdi_gate, packed.forward, packed.backward);
}

void recurrence_forward(const RecurrenceWeights& packed, const Tensor& core_bias,
                        const Tensor& mdi_input, const Tensor& z, const Tensor& gamma,
                        const Tensor& gm, const Tensor& state, const Tensor& gates) {
  check_shape("recurrence_forward: z", z, {-1, -1, -1});
  const int T = z.size(0), B = z.size(1), D = z.size(2);
  check_shape("recurrence_forward: packed", packed.forward, {D, 2, recurrence_padded(D)});
  check_shape("recurrence_forward: core_bias", core_bias, {D});
  for (const Tensor& input : {mdi_input, gamma, gm})
    check_shape("recurrence_forward: mdi_input, gamma, gm", input, {T, B, D});
  check_shape("recurrence_forward: state", state, {T + 1, B, D});
  check_shape("recurrence_forward: gates", gates, {T, B, 2 * D});
  if (z.count() == 0) return;

  static Kernel kernel("recurrence", "forward");
  // Returns a callable that runs step t for sequences [begin, end) and a range of units.
  const auto steps = [&](int begin, int end, Units units) {
    const auto all = [&](const Tensor& tensor, int t) { return Rows(tensor, begin, end, t); };
    const auto own = [&](const Tensor& tensor, int t) {
      return Rows(tensor.columns(units.begin, units.end), begin, end, t);
    };
    return [=, flops = 4.0 * (end - begin) * (units.end - units.begin) * D,
            weights = packed.forward.columns(units.begin, units.padded_end),
            bias = core_bias.columns(units.begin, units.end),
            rows =
                std::array{own(mdi_input, 0), own(z, 0), own(gamma, 0), own(gm, 0), all(state, 0),
                           own(state, 0), own(state, 1), own(gates.columns(0, D), 0),
                           own(gates.columns(D, 2 * D), 0)}](int t) mutable {
      for (Rows& row : rows) row.move_to(t);
      const auto& [mdi_input_t, z_t, gamma_t, gm_t, h_previous, own_previous, h_t, s_t, g_t] = rows;
      kernel({.flops = flops, .sizes = {end - begin, D}}, weights, bias, mdi_input_t.view, z_t.view,
             gamma_t.view, gm_t.view, h_previous.view, own_previous.view, h_t.view, s_t.view,
             g_t.view);
    };
  };
  if (B < kLeastGrouped && T > 1) {
    const UnitParts parts(D);
    lockstep(parts.count, T, [&](int part) { return steps(0, B, parts[part]); });
  } else {
    for_sequence_groups(B, [&](int begin, int end) {
      auto step = steps(begin, end, {0, D, recurrence_padded(D)});
      for (int t = 0; t < T; ++t) step(t);
    });
  }
}

void recurrence_backward(const RecurrenceWeights& packed, const Tensor& dstate, const Tensor& gates,
                         const Tensor& z, const Tensor& gamma, const Tensor& gm,
                         const Tensor& state, const Tensor& dpre, const Tensor& dz,
                         const Tensor& dgamma, const Tensor& dstate_in) {
  check_shape("recurrence_backward: z", z, {-1, -1, -1});
  const int T = z.size(0), B = z.size(1), D = z.size(2);
  check_shape("recurrence_backward: packed", packed.backward, {2, D, recurrence_padded(D)});
  for (const Tensor& rows : {dstate, gamma, gm, dz, dgamma})
    check_shape("recurrence_backward: dstate, gamma, gm, dz, dgamma", rows, {T, B, D});
  for (const Tensor& rows : {gates, dpre})
    check_shape("recurrence_backward: gates, dpre", rows, {T, B, 2 * D});
  check_shape("recurrence_backward: state", state, {T + 1, B, D});
  check_shape("recurrence_backward: dstate_in", dstate_in, {B, D});
  set_zero(dstate_in);
  if (z.count() == 0) return;

  static Kernel kernel("recurrence", "backward");
  const Tensor s = gates.columns(0, D), g = gates.columns(D, 2 * D), ds = dpre.columns(0, D),
               dg = dpre.columns(D, 2 * D);
  for_sequence_groups(B, [&](int begin, int end) {
    std::array<Rows, 11> rows{
        Rows(dstate, begin, end, 0), Rows(s, begin, end, 0),     Rows(g, begin, end, 0),
        Rows(z, begin, end, 0),      Rows(gamma, begin, end, 0), Rows(gm, begin, end, 0),
        Rows(state, begin, end, 0),  Rows(ds, begin, end, 0),    Rows(dg, begin, end, 0),
        Rows(dz, begin, end, 0),     Rows(dgamma, begin, end, 0)};
    auto& [dstate_t, s_t, g_t, z_t, gamma_t, gm_t, h_previous, ds_t, dg_t, dz_t, dgamma_t] = rows;
    // dstate_in carries the gradient from step t + 1 to h_t. After t = 0 it is the gradient of the
    // initial state.
    const Tensor carry = dstate_in.rows(begin, end);
    for (int t = T - 1; t >= 0; --t) {
      for (Rows& row : rows) row.move_to(t);
      kernel({.flops = 4.0 * (end - begin) * D * D, .sizes = {end - begin, D}}, packed.backward,
             dstate_t.view, carry, s_t.view, g_t.view, z_t.view, gamma_t.view, gm_t.view,
             h_previous.view, ds_t.view, dg_t.view, dz_t.view, dgamma_t.view, carry);
    }
  });
}

bool recurrence_backward_on_one_core(int B) { return B < kLeastGrouped; }

}  // namespace mmrec::ops
