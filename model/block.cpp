#include "model/block.h"

#include <fmt/core.h>

#include "model/memory.h"
#include "runtime/ops/attention.h"
#include "runtime/ops/gemm.h"
#include "runtime/ops/hem.h"
#include "runtime/threads.h"

namespace mmrec {

namespace {

constexpr float kQueryShare = 0.5f;  // of q in the attention's query
constexpr float kValueShare = 0.1f;  // of v in the residual stream

/// The four parts of the projection.
struct Projected {
  explicit Projected(const Tensor& qkvz) : Projected(qkvz, qkvz.size(1) / 4) {}
  Projected(const Tensor& qkvz, int D)
      : q(qkvz.columns(0, D)), k(qkvz.columns(D, 2 * D)), v(qkvz.columns(2 * D, 3 * D)), z(qkvz.columns(3 * D, 4 * D)) {}
  Tensor q, k, v, z;
};

}  // namespace

BlockWeights::BlockWeights(const Config& config, const Parameters& parameters, const Tensor& flat, int layer) {
  const auto get = [&](const char* name) { return parameters.view(flat, parameters.find(fmt::format("blocks.{}.{}", layer, name))); };
  norm1 = get("norm1.weight");
  const int D = norm1.size(0);
  fused = get("W_fused.weight").rows(0, 4 * D);
  fused_bias = get("W_fused.bias").rows(0, 4 * D);
  core_gate = get("W_g.weight");
  core_gate_bias = get("W_g.bias");
  const Tensor mdi_gate = get("mdi.W_g.weight");
  mdi_gate_z = mdi_gate.columns(0, D);
  mdi_gate_h = mdi_gate.columns(D, 2 * D);
  mdi_bias = get("mdi.W_g.bias");
  decay = {get("mdi.W_gamma.0.weight"),   get("mdi.W_gamma.0.bias"),   get("mdi.W_gamma.2.weight"),   get("mdi.W_gamma.2.bias"),
           get("mdi.W_context.0.weight"), get("mdi.W_context.0.bias"), get("mdi.W_context.2.weight"), get("mdi.W_context.2.bias")};
  query = get("multi_mem_attention.W_q.weight");
  query_bias = get("multi_mem_attention.W_q.bias");
  output = get("multi_mem_attention.W_o.weight");
  output_bias = get("multi_mem_attention.W_o.bias");
  ffn = {get("norm2.weight"), get("ffn.0.weight"), get("ffn.0.bias"), get("ffn.3.weight"), get("ffn.3.bias")};
  if (!learns_memory(config)) return;
  memory_keys = get("memory.k");
  memory_values = get("memory.v");
}

BlockSaved::BlockSaved(const BlockSizes& s, Arena& arena) {
  const int N = s.rows(), D = s.D, R = D / 4, F = 4 * D;
  scale = arena.tensor({N});
  qkvz = arena.tensor({N, 4 * D});
  decay = {arena.tensor({N, R}), arena.tensor({N, R}), arena.tensor({N, D}), arena.tensor({N, D})};
  gm = arena.tensor({N, D});
  const int padded = ops::recurrence_padded(D);
  packed = {arena.tensor({D, 2, padded}), arena.tensor({2, D, padded})};
  mdi_input = arena.tensor({s.T, s.B, D});
  state = arena.tensor({s.T + 1, s.B, D});
  gates = arena.tensor({s.T, s.B, 2 * D});
  q = arena.tensor({N, D});
  p = arena.tensor({N, s.heads, s.slots});
  context = arena.tensor({N, D});
  r = arena.tensor({N, D});
  ffn = {arena.tensor({N}), arena.tensor({N, F}), arena.tensor({N, F})};
}

BlockScratch::BlockScratch(const BlockSizes& s, bool backward, Arena& arena) {
  const int N = s.rows(), D = s.D;
  mixed = arena.tensor({N, D});
  if (!backward) return;
  for (Tensor* rows : {&dr, &dmixed, &dcontext, &dq, &dstate, &dgamma}) *rows = arena.tensor({N, D});
  dstate_in = arena.tensor({s.B, D});
  dpre = arena.tensor({s.T, s.B, 2 * D});
  dqkvz = arena.tensor({N, 4 * D});
  dscores = arena.tensor({s.heads, N, s.slots});
}

void block_forward(const BlockSizes& s, const BlockWeights& w, const Tensor& keys, const Tensor& values, const BlockDropout& dropout, const Tensor& x,
                   const BlockSaved& saved, const BlockScratch& scratch, const Tensor& y) {
  const auto by_time = [&](const Tensor& rows) { return rows.reshape({s.T, s.B, s.D}); };
  const auto by_row = [&](const Tensor& sequence) { return sequence.reshape({s.rows(), s.D}); };
  const Projected in(saved.qkvz);

  // Everything that does not depend on h, for the whole sequence at once.
  ops::hem_forward(x, w.norm1, w.fused, w.fused_bias, saved.scale, saved.qkvz);
  ops::decay_forward(in.z, in.k, w.decay, saved.decay, saved.gm);
  ops::gemm_nt(in.z, w.mdi_gate_z, by_row(saved.mdi_input), {.bias = w.mdi_bias});

  ops::recurrence_pack(w.core_gate, w.mdi_gate_h, saved.packed);
  ops::recurrence_forward(saved.packed, w.core_gate_bias, saved.mdi_input, by_time(in.z), by_time(saved.gm), by_time(saved.gm), saved.state,
                          saved.gates);
  const Tensor h = by_row(saved.state.rows(1, s.T + 1));

  ops::gemm_nt(h, w.query, saved.q, {.bias = w.query_bias, .residual = in.q, .beta = kQueryShare});
  ops::attention_forward(saved.q, keys, values, saved.p, saved.context);
  ops::gemm_nt(saved.context, w.output, scratch.mixed, {.bias = w.output_bias, .residual = h, .beta = 1.f});
  ops::dropout_forward(x, scratch.mixed, in.v, kValueShare, dropout.mixer, saved.r);

  ops::ffn_forward(saved.r, w.ffn, dropout.ffn_hidden, dropout.ffn_output, saved.ffn, y);
}

void block_backward(const BlockSizes& s, const BlockWeights& w, const Tensor& keys, const Tensor& values, const BlockDropout& dropout,
                    const Tensor& x, const BlockSaved& saved, const BlockScratch& d, const Tensor& dy, const Tensor& dx, const BlockWeights& g) {
  const auto by_time = [&](const Tensor& rows) { return rows.reshape({s.T, s.B, s.D}); };
  const auto by_row = [&](const Tensor& sequence) { return sequence.reshape({s.rows(), sequence.size(2)}); };
  const Projected in(saved.qkvz), din(d.dqkvz);

  ops::ffn_backward(dy, saved.r, w.ffn, dropout.ffn_output, saved.ffn, d.dr, g.ffn);

  const Tensor h = by_row(saved.state.rows(1, s.T + 1));
  ops::dropout_backward(d.dr, kValueShare, dropout.mixer, d.dmixed, din.v);
  ops::gemm_nn(d.dmixed, w.output, d.dcontext);
  ops::attention_backward(d.dcontext, keys, values, saved.p, d.dscores, d.dq);
  if (g.memory_keys.data()) ops::attention_backward_memory(d.dcontext, saved.q, saved.p, d.dscores, g.memory_keys, g.memory_values);
  ops::dropout_backward(d.dq, kQueryShare, {}, d.dq, din.q);  // no mask: q's share of the query
  ops::gemm_nn(d.dq, w.query, d.dstate, {.residual = d.dmixed, .beta = 1.f});

  const auto recurrence = [&] {
    ops::recurrence_backward(saved.packed, by_time(d.dstate), saved.gates, by_time(in.z), by_time(saved.gm), by_time(saved.gm), saved.state, d.dpre,
                             by_time(din.z), by_time(d.dgamma), d.dstate_in);
  };
  const auto output_gradients = [&] {
    ops::gemm_tn(d.dmixed, saved.context, g.output);
    ops::column_sum(d.dmixed, g.output_bias);
  };
  const auto query_gradients = [&] {
    ops::gemm_tn(d.dq, h, g.query);
    ops::column_sum(d.dq, g.query_bias);
  };
  if (ops::recurrence_backward_on_one_core(s.B)) {  // the other cores take gradients that nothing waits for
    parallel_for(3, [&](int task) { task == 0 ? recurrence() : task == 1 ? output_gradients() : query_gradients(); });
  } else {
    recurrence();
    output_gradients();
    query_gradients();
  }
  const Tensor h_previous = by_row(saved.state.rows(0, s.T)), dpre = by_row(d.dpre);
  const Tensor dcore = dpre.columns(0, s.D), dmdi = dpre.columns(s.D, 2 * s.D);
  ops::gemm_tn(dcore, h_previous, g.core_gate);
  ops::column_sum(dcore, g.core_gate_bias);

  ops::gemm_tn(dmdi, h_previous, g.mdi_gate_h);
  ops::gemm_tn(dmdi, in.z, g.mdi_gate_z);
  ops::column_sum(dmdi, g.mdi_bias);
  ops::gemm_nn(dmdi, w.mdi_gate_z, din.z, {.residual = din.z, .beta = 1.f});
  // gm takes the place of gamma too: what reaches it is the gradient in gamma and kMdiShare of it.
  ops::decay_backward(d.dgamma, 1.f + ops::kMdiShare, din.z, in.z, in.k, w.decay, saved.decay, din.z, din.k, g.decay);
  ops::hem_backward(d.dqkvz, d.dr, x, saved.scale, w.norm1, w.fused, dx, g.norm1, g.fused, g.fused_bias);
}

}  // namespace mmrec
