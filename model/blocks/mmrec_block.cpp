#include "model/blocks/mmrec_block.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "generators/constants/constants.h"
#include "model/blocks/feed_forward.h"
#include "model/memory.h"
#include "runtime/ops/attention.h"
#include "runtime/ops/gemm.h"
#include "runtime/ops/hem.h"
#include "runtime/threads.h"

namespace mmrec {

namespace {

constexpr float kQueryShare = 0.5f;  // weight of q in the attention's query
constexpr float kValueShare = 0.1f;  // weight of v in the residual stream

/// Views of the parts of the projection, [N][D] each.
struct Projected {
  explicit Projected(const Tensor& qkvz) : Projected(qkvz, qkvz.size(1) / MmrecBlock::kProjected) {}
  Projected(const Tensor& qkvz, int D)
      : q(qkvz.columns(0, D)),
        k(qkvz.columns(D, 2 * D)),
        v(qkvz.columns(2 * D, 3 * D)),
        z(qkvz.columns(3 * D, 4 * D)) {}
  Tensor q, k, v, z;
};

/// Returns the used rows (q k v z) of the fused projection's weights or gradients.
Linear used(const Linear& fused, int D) {
  const int rows = MmrecBlock::kProjected * D;
  return {fused.weight.rows(0, rows), fused.bias.rows(0, rows)};
}

/// Views of the two halves of mdi.W_g, [D][D] each.
struct MdiGate {
  MdiGate(const Linear& gate, int D)
      : z(gate.weight.columns(0, D)), h(gate.weight.columns(D, 2 * D)) {}
  Tensor z, h;
};

}  // namespace

void MmrecBlock::check_values() const {
  constexpr int kMaxSlots = 1 << 20;  // far beyond any model; keeps products of sizes in range
  const Config& c = config_;
  require_field(c.heads >= 1 && c.dim % c.heads == 0, "heads",
                fmt::format("must divide dim = {}, not be {}", c.dim, c.heads));
  require_field(c.mem_slots >= 16 && c.mem_slots <= kMaxSlots && c.mem_slots % 16 == 0, "mem_slots",
                fmt::format("must be a multiple of 16 up to {}, not {}", kMaxSlots, c.mem_slots));
  require_field(c.memory == "random" || c.memory == "learned", "memory",
                fmt::format("must be random or learned, not {}", c.memory));
}

void MmrecBlock::check_supported() const {
  require_field(config_.hem, "hem", "= false is not supported by this version");
  require_field(!config_.dpg, "dpg", "= true is not supported by this version");
  require_field(!config_.uboo, "uboo", "= true is not supported by this version");
  require_field(config_.chunk_size == 0, "chunk_size",
                "other than 0 is not supported by this version");
}

std::string MmrecBlock::describe() const {
  return fmt::format("{} heads{}{}", config_.heads, config_.dpg ? ", DPG" : "",
                     config_.uboo ? ", UBOO" : "");
}

MmrecBlock::Weights::Weights(const Config& config, const ParameterScope& p) {
  const int D = config.dim, R = mdi_gamma_width(D);
  const double xavier = std::sqrt(6.0 / (2.0 * D));  // bound for each D x D part
  fused = {p.declare("W_fused.weight", {kProjections * D, D}, Initial::uniform(xavier)),
           p.declare("W_fused.bias", {kProjections * D}, Initial::constant(0))};
  core_gate = p.linear("W_g", D, D);
  norm1 = p.norm("norm1", D);
  const Tensor norm2 = p.norm("norm2", D);
  mdi_gate = p.linear("mdi.W_g", D, 2 * D);
  const Linear gamma_in = p.linear("mdi.W_gamma.0", R, D),
               gamma_out = p.linear("mdi.W_gamma.2", D, R);
  const Linear context_in = p.linear("mdi.W_context.0", R, D),
               context_out = p.linear("mdi.W_context.2", D, R);
  mdi_gamma = {gamma_in.weight,   gamma_in.bias,   gamma_out.weight,   gamma_out.bias,
               context_in.weight, context_in.bias, context_out.weight, context_out.bias};
  query = p.linear("multi_mem_attention.W_q", D, D);
  output = p.linear("multi_mem_attention.W_o", D, D);
  ffn = declare_ffn(norm2, p, D);
  if (learns_memory(config)) {
    memory_keys =
        p.declare_last("memory.k", {top_slots(config), D}, Initial::normal(kSlotDeviation));
    memory_values =
        p.declare_last("memory.v", {top_slots(config), D}, Initial::normal(kSlotDeviation));
  }
  // Parts without kernels in this version.
  if (config.dpg) {
    p.declare_last("W_gamma_down.weight", {config.dpg_rank, D}, Initial::fan_in(D));
    p.declare_last("W_gamma_up.weight", {D, config.dpg_rank}, Initial::fan_in(config.dpg_rank));
  }
  if (config.uboo)
    for (const char* layer : {"error.0", "error.2", "target.0", "target.2"})
      p.declare_last(fmt::format("mdi.W_planning_{}.weight", layer), {D, D}, Initial::fan_in(D));
}

void MmrecBlock::bind(const ParameterScope& weights, const ParameterScope& gradients) {
  weights_ = Weights(config_, weights);
  gradients_ = Weights(config_, gradients);
}

int64_t MmrecBlock::widest_row() const {
  return std::max<int64_t>(ffn_width(D_), int64_t{config_.heads} * top_slots(config_));
}

double MmrecBlock::training_flops() const {
  const double D = D_;
  const double projection = kProjected * D * D, mdi_gamma = 4 * D * mdi_gamma_width(D_),
               recurrence = 2 * D * D;
  const double mdi_input = D * D, query = D * D, output = D * D;
  const double dpg = config_.dpg ? 2 * config_.dpg_rank * D : 0,
               uboo = config_.uboo ? 4 * D * D : 0;
  const double products = projection + mdi_gamma + mdi_input + recurrence + query + output +
                          ffn_products(D_) + dpg + uboo;
  const double attention = 2 * top_slots(config_) * D;
  // Backward does twice the work of forward, except attention whose memory has no gradient.
  return 2 * (3 * products + (learns_memory(config_) ? 3 : 2) * attention);
}

std::vector<Drawn> MmrecBlock::lay_out_drawn(Arena& arena) {
  if (learns_memory(config_)) return {};
  for (Tensor* slots : {&drawn_keys_, &drawn_values_})
    *slots = arena.tensor({top_slots(config_), D_});
  return {{"memory.k", drawn_keys_, kTopDeviation}, {"memory.v", drawn_values_, kTopDeviation}};
}

void MmrecBlock::lay_out_saved(Arena& arena) {
  const int N = rows(), D = D_, R = mdi_gamma_width(D), padded = ops::recurrence_padded(D);
  Saved& s = saved_;
  s.rstd = arena.tensor({N});
  s.qkvz = arena.tensor({N, kProjected * D});
  s.mdi_gamma = {arena.tensor({N, R}), arena.tensor({N, R}), arena.tensor({N, D}),
                 arena.tensor({N, D})};
  s.gm = arena.tensor({N, D});
  s.packed = {arena.tensor({D, 2, padded}), arena.tensor({2, D, padded})};
  s.mdi_input = arena.tensor({T_, B_, D});
  s.state = arena.tensor({T_ + 1, B_, D});
  s.gates = arena.tensor({T_, B_, 2 * D});
  s.q = arena.tensor({N, D});
  s.p = arena.tensor({N, config_.heads, top_slots(config_)});
  s.context = arena.tensor({N, D});
  s.r = arena.tensor({N, D});
  s.ffn = lay_out_ffn(N, D, arena);
}

void MmrecBlock::lay_out_scratch(Arena& arena, bool backward) {
  const int N = rows(), D = D_;
  Scratch& d = scratch_;
  d.mixed = arena.tensor({N, D});
  if (!backward) return;
  for (Tensor* tensor : {&d.dr, &d.dmixed, &d.dcontext, &d.dq, &d.dstate, &d.dgamma})
    *tensor = arena.tensor({N, D});
  d.dstate_in = arena.tensor({B_, D});
  d.dpre = arena.tensor({T_, B_, 2 * D});
  d.dqkvz = arena.tensor({N, kProjected * D});
  d.dscores = arena.tensor({config_.heads, N, top_slots(config_)});
}

void MmrecBlock::forward(const Tensor& x, const Tensor& state, const BlockDropout& dropout,
                         const Tensor& y) {
  const Weights& w = weights_;
  const Saved& s = saved_;
  const Linear fused = used(w.fused, D_);
  const MdiGate mdi_gate(w.mdi_gate, D_);
  const Projected in(s.qkvz);

  // Everything independent of h: the whole sequence at once.
  ops::hem_forward(x, w.norm1, fused.weight, fused.bias, s.rstd, s.qkvz);
  ops::mdi_gamma_forward(in.z, in.k, w.mdi_gamma, s.mdi_gamma, s.gm);
  ops::gemm_nt(in.z, mdi_gate.z, by_row(s.mdi_input), {.bias = w.mdi_gate.bias});

  ops::recurrence_pack(w.core_gate.weight, mdi_gate.h, s.packed);
  copy_values(state, s.state.at(0));
  ops::recurrence_forward(s.packed, w.core_gate.bias, s.mdi_input, by_time(in.z), by_time(s.gm),
                          by_time(s.gm), s.state, s.gates);
  copy_values(s.state.at(T_), state);
  const Tensor h = by_row(s.state.rows(1, T_ + 1));

  ops::gemm_nt(h, w.query.weight, s.q,
               {.bias = w.query.bias, .residual = in.q, .beta = kQueryShare});
  ops::attention_forward(s.q, keys(), values(), s.p, s.context);
  ops::gemm_nt(s.context, w.output.weight, scratch_.mixed,
               {.bias = w.output.bias, .residual = h, .beta = 1.f});
  ops::dropout_forward(x, scratch_.mixed, in.v, kValueShare, dropout.mixer, s.r);

  ops::ffn_forward(s.r, w.ffn, dropout.ffn_hidden, dropout.ffn_output, s.ffn, y);
}

void MmrecBlock::backward(const Tensor& dy, const Tensor& x, const BlockDropout& dropout,
                          const Tensor& dx) {
  const Weights &w = weights_, &g = gradients_;
  const Saved& s = saved_;
  const Scratch& d = scratch_;
  const Linear fused = used(w.fused, D_), dfused = used(g.fused, D_);
  const MdiGate mdi_gate(w.mdi_gate, D_), dmdi_gate(g.mdi_gate, D_);
  const Projected in(s.qkvz), din(d.dqkvz);

  ops::ffn_backward(dy, s.r, w.ffn, dropout.ffn_output, s.ffn, d.dr, g.ffn);

  const Tensor h = by_row(s.state.rows(1, T_ + 1));
  ops::dropout_backward(d.dr, kValueShare, dropout.mixer, d.dmixed, din.v);
  ops::gemm_nn(d.dmixed, w.output.weight, d.dcontext);
  ops::attention_backward(d.dcontext, keys(), values(), s.p, d.dscores, d.dq);
  if (g.memory_keys.rank())
    ops::attention_backward_memory(d.dcontext, s.q, s.p, d.dscores, g.memory_keys, g.memory_values);
  // no mask; da scales in place, db is q's share
  ops::dropout_backward(d.dq, kQueryShare, {}, d.dq, din.q);
  ops::gemm_nn(d.dq, w.query.weight, d.dstate, {.residual = d.dmixed, .beta = 1.f});

  const auto recurrence = [&] {
    ops::recurrence_backward(s.packed, by_time(d.dstate), s.gates, by_time(in.z), by_time(s.gm),
                             by_time(s.gm), s.state, d.dpre, by_time(din.z), by_time(d.dgamma),
                             d.dstate_in);
  };
  const auto output_gradients = [&] {
    ops::linear_gradients(d.dmixed, s.context, g.output.weight, g.output.bias);
  };
  const auto query_gradients = [&] {
    ops::linear_gradients(d.dq, h, g.query.weight, g.query.bias);
  };
  // nothing depends on these gradients: compute them on the idle cores
  if (ops::recurrence_backward_on_one_core(B_)) {
    parallel_for(3, [&](int task) {
      task == 0 ? recurrence() : task == 1 ? output_gradients() : query_gradients();
    });
  } else {
    recurrence();
    output_gradients();
    query_gradients();
  }
  const Tensor h_previous = by_row(s.state.rows(0, T_)), dpre = by_row(d.dpre);
  const Tensor dcore = dpre.columns(0, D_), dmdi = dpre.columns(D_, 2 * D_);
  ops::linear_gradients(dcore, h_previous, g.core_gate.weight, g.core_gate.bias);

  ops::linear_gradients(dmdi, h_previous, dmdi_gate.h, g.mdi_gate.bias);
  ops::linear_gradients(dmdi, in.z, dmdi_gate.z);
  ops::gemm_nn(dmdi, mdi_gate.z, din.z, {.residual = din.z, .beta = 1.f});
  // gm is passed as gamma too. Its gradient is therefore dgamma + kMdiShare * dgamma.
  ops::mdi_gamma_backward(d.dgamma, 1.f + kMdiShare, din.z, in.z, in.k, w.mdi_gamma, s.mdi_gamma,
                          din.z, din.k, g.mdi_gamma);
  ops::hem_backward(d.dqkvz, d.dr, x, s.rstd, w.norm1, fused.weight, dx, g.norm1, dfused.weight,
                    dfused.bias);
}

std::vector<NamedTensor> MmrecBlock::saved() const {
  return {{"the projection q k v z", saved_.qkvz},
          {"the decay gm", saved_.gm},
          {"the state h", saved_.state},
          {"the attention's query", saved_.q},
          {"the attention's context", saved_.context},
          {"the residual r", saved_.r}};
}

}  // namespace mmrec
