#pragma once

#include "bench/reference/array.h"
#include "runtime/ops/recurrence.h"

namespace mmrec::reference {

/// MDI's share of the state update.
inline constexpr double kMdiShare = 0.1f;

struct RecurrencePacked {
  Array forward,
      backward;  ///< as ops::RecurrenceWeights
};

inline RecurrencePacked recurrence_pack(const Array& core_gate, const Array& mdi_gate) {
  constexpr int kPanel = 16;
  const int dim = core_gate.size(0);
  const std::vector<int> shape{ops::recurrence_panels(dim), dim, 2, kPanel};
  RecurrencePacked packed{Array(shape), Array(shape)};
  for (int gate = 0; gate < 2; ++gate)
    for (int out = 0; out < dim; ++out)
      for (int in = 0; in < dim; ++in)
        packed.forward(out / kPanel, in, gate, out % kPanel) = packed.backward(
            in / kPanel, out, gate, in % kPanel) = (gate ? mdi_gate : core_gate)(out, in);
  return packed;
}

/// Inputs of the recurrence: core_gate, mdi_gate [D][D], core_bias [D], state_in [B][D]; all others
/// [T][B][D].
struct RecurrenceInputs {
  Array core_gate, mdi_gate, core_bias, mdi_input, z, gamma, gm, state_in;
};

struct Recurrence {
  Array state, gates;  ///< [T+1][B][D] with state_in first, [T][B][2D] = [s ; g]
};

inline Recurrence recurrence_forward(const RecurrenceInputs& in) {
  const int steps = in.z.size(0), batch = in.z.size(1), dim = in.z.size(2);
  Recurrence r{{steps + 1, batch, dim}, {steps, batch, 2 * dim}};
  for (int b = 0; b < batch; ++b)
    for (int d = 0; d < dim; ++d) r.state(0, b, d) = in.state_in(b, d);
  for (int t = 0; t < steps; ++t)
    for (int b = 0; b < batch; ++b)
      for (int d = 0; d < dim; ++d) {
        Real core = 0, mdi = 0;
        for (int i = 0; i < dim; ++i) {
          core += factor(in.core_gate(d, i)) * factor(r.state(t, b, i));
          mdi += factor(in.mdi_gate(d, i)) * factor(r.state(t, b, i));
        }
        const Real s = sigmoid(core + in.core_bias(d)), g = sigmoid(mdi + in.mdi_input(t, b, d));
        const Real z = in.z(t, b, d), h = r.state(t, b, d);
        r.gates(t, b, d) = s;
        r.gates(t, b, dim + d) = g;
        r.state(t + 1, b, d) =
            z * s + in.gamma(t, b, d) * h + kMdiShare * ((1 - g) * h + g * z + in.gm(t, b, d) * h);
      }
  return r;
}

struct RecurrenceGradient {
  Array dpre, dz, dgamma, dstate_in;
};

inline RecurrenceGradient recurrence_backward(const Array& dstate, const RecurrenceInputs& in) {
  const int steps = in.z.size(0), batch = in.z.size(1), dim = in.z.size(2);
  const Recurrence f = recurrence_forward(in);
  RecurrenceGradient r{
      {steps, batch, 2 * dim}, {steps, batch, dim}, {steps, batch, dim}, {batch, dim}};
  for (int b = 0; b < batch; ++b) {
    std::vector<Real> through(dim);  // gradient that reaches h_t from h_{t+1}
    for (int t = steps - 1; t >= 0; --t) {
      std::vector<Real> earlier(through.size());
      for (int d = 0; d < dim; ++d) {
        const Real dh = dstate(t, b, d) + through[d];
        const Real s = f.gates(t, b, d), g = f.gates(t, b, dim + d), z = in.z(t, b, d),
                   h = f.state(t, b, d);
        r.dpre(t, b, d) = dh * z * s * (1 - s);
        r.dpre(t, b, dim + d) = dh * kMdiShare * (z - h) * g * (1 - g);
        r.dz(t, b, d) = dh * (s + kMdiShare * g);
        r.dgamma(t, b, d) = dh * h;
        earlier[d] = dh * (in.gamma(t, b, d) + kMdiShare * (1 - g + in.gm(t, b, d)));
      }
      for (int i = 0; i < dim; ++i)
        for (int d = 0; d < dim; ++d)
          earlier[i] += factor(in.core_gate(d, i)) * factor(r.dpre(t, b, d)) +
                        factor(in.mdi_gate(d, i)) * factor(r.dpre(t, b, dim + d));
      through = earlier;
    }
    for (int d = 0; d < dim; ++d) r.dstate_in(b, d) = through[d];
  }
  return r;
}

}  // namespace mmrec::reference
