#include "model/blocks/mingru_block.h"

#include <cmath>

#include "model/blocks/feed_forward.h"
#include "model/rows.h"
#include "runtime/ops/gemm.h"
#include "runtime/ops/hem.h"
#include "runtime/ops/scan.h"
#include "support/same_bits_math.h"

namespace mmrec {

namespace {

/// Views [T][B][D] as [B][T][D], the layout of the scans.
Tensor by_sequence(const Tensor& by_time) { return by_time.swap_outer(); }

}  // namespace

MingruBlock::Weights::Weights(const Config& config, const ParameterScope& p)
    : norm1(p.norm("norm1", config.dim)) {
  using enum Role;
  const int D = config.dim;
  projection = p.linear("W_zh", 2 * D, D, {{kUnits, kUnits}, {kChannels}});
  output = p.linear("W_o", D, D, {{kChannels}, {kUnits}});
  ffn = declare_ffn(p.norm("norm2", D), p, D);
}

void MingruBlock::bind(const ParameterScope& weights, const ParameterScope& gradients) {
  weights_ = Weights(config_, weights);
  gradients_ = Weights(config_, gradients);
}

std::vector<PackableWeight> MingruBlock::packable_weights() {
  Weights& w = weights_;
  return {
      {&w.projection.weight, w.norm1}, {&w.output.weight}, {&w.ffn.in, w.ffn.norm}, {&w.ffn.out}};
}

int64_t MingruBlock::widest_row() const { return ffn_width(D_); }

double MingruBlock::training_flops() const {
  const double D = D_, projection = 2 * D * D, output = D * D;
  return 3 * 2 * (projection + output + ffn_products(D));
}

void MingruBlock::lay_out_saved(Arena& arena, Precision precision) {
  const int N = rows(), D = D_;
  Saved& s = saved_;
  s.rstd = arena.tensor({N});
  s.gate_input = arena.tensor({N, 2 * D});
  for (Tensor* tensor : {&s.keep, &s.input, &s.r}) *tensor = arena.tensor({N, D});
  s.state = arena.tensor({T_ + 1, B_, D});
  s.ffn = lay_out_ffn(N, D, arena, precision);
}

void MingruBlock::lay_out_scratch(Arena& arena, bool backward) {
  const int N = rows(), D = D_;
  Temporaries& d = temporaries_;
  d.mixed = arena.tensor({N, D});
  if (!backward) return;
  for (Tensor* tensor : {&d.dr, &d.dmixed, &d.dh, &d.dkeep, &d.dinput})
    *tensor = arena.tensor({N, D});
  d.dgate_input = arena.tensor({N, 2 * D});
  d.dstate_in = arena.tensor({B_, D});
}

void MingruBlock::gates_forward() const {
  for_each_row(rows(), [D = D_, &s = saved_](int64_t n) {
    const float *gate = s.gate_input.data() + 2 * D * n, *candidate = gate + D;
    float *keep = s.keep.data() + D * n, *input = s.input.data() + D * n;
    for (int d = 0; d < D; ++d) {
      const float z = 1 / (1 + same_bits::exp(-gate[d]));
      keep[d] = 1 - z;
      input[d] = z * candidate[d];
    }
  });
}

void MingruBlock::gates_backward() const {
  for_each_row(rows(), [D = D_, &s = saved_, &g = temporaries_](int64_t n) {
    const float *keep = s.keep.data() + D * n, *candidate = s.gate_input.data() + 2 * D * n + D;
    const float *dkeep = g.dkeep.data() + D * n, *dinput = g.dinput.data() + D * n;
    float *dgate = g.dgate_input.data() + 2 * D * n, *dcandidate = dgate + D;
    for (int d = 0; d < D; ++d) {
      const float z = 1 - keep[d];
      dgate[d] = (dinput[d] * candidate[d] - dkeep[d]) * z * keep[d];
      dcandidate[d] = dinput[d] * z;
    }
  });
}

void MingruBlock::forward(const Tensor& x, const Tensor& state, const BlockDropout& dropout,
                          const Tensor& y) {
  const Weights& w = weights_;
  const Saved& s = saved_;
  const Tensor after = s.state.rows(1, T_ + 1);

  ops::hem_forward(x, w.norm1, w.projection.weight, w.projection.bias, s.rstd, s.gate_input);
  gates_forward();
  copy_values(state, s.state.at(0));
  ops::affine_scan_forward(by_sequence(by_time(s.keep)), by_sequence(by_time(s.input)),
                           s.state.at(0), by_sequence(after));
  copy_values(s.state.at(T_), state);

  ops::linear(by_row(after), w.output.weight, temporaries_.mixed, {.bias = w.output.bias});
  ops::dropout_forward(x, temporaries_.mixed, temporaries_.mixed, 0.f, dropout.mixer, s.r);
  ops::ffn_forward(s.r, w.ffn, dropout.ffn_hidden, dropout.ffn_output, s.ffn, y);
}

void MingruBlock::backward(const Tensor& dy, const Tensor& x, const BlockDropout& dropout,
                           float /*share*/, const Tensor& dx) {
  const Weights &w = weights_, &g = gradients_;
  const Saved& s = saved_;
  const Temporaries& d = temporaries_;
  const Tensor after = s.state.rows(1, T_ + 1);

  ops::ffn_backward(dy, s.r, w.ffn, dropout.ffn_output, s.ffn, d.dr, g.ffn);
  // dh is a dummy output here: the second summand has factor 0
  ops::dropout_backward(d.dr, 0.f, dropout.mixer, d.dmixed, d.dh);
  ops::linear_gradients(d.dmixed, by_row(after), g.output.weight, g.output.bias);
  ops::gemm_nn(d.dmixed, w.output.weight, d.dh);

  ops::affine_scan_backward(by_sequence(by_time(d.dh)), by_sequence(by_time(s.keep)),
                            by_sequence(after), s.state.at(0), by_sequence(by_time(d.dkeep)),
                            by_sequence(by_time(d.dinput)), d.dstate_in);
  gates_backward();
  ops::hem_backward(d.dgate_input, d.dr, x, s.rstd, w.norm1, w.projection.weight, dx, g.norm1,
                    g.projection.weight, g.projection.bias);
}

StateRange MingruBlock::state_range() const {
  const float *keep = saved_.keep.data(), *h = saved_.state.at(1).data();
  const int64_t D = D_;
  return {largest(rows(), D_, [&](int64_t n, int d) { return keep[D * n + d]; }),
          largest(rows(), D_, [&](int64_t n, int d) { return std::abs(h[D * n + d]); })};
}

std::vector<NamedTensor> MingruBlock::saved() const {
  return {{"the gate's input and the candidate", by_time(saved_.gate_input)},
          {"the state h", saved_.state.rows(1, T_ + 1)},
          {"the residual r", by_time(saved_.r)}};
}

}  // namespace mmrec
