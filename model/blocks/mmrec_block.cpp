#include "model/blocks/mmrec_block.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "generators/constants/constants.h"
#include "model/blocks/feed_forward.h"
#include "model/memory.h"
#include "model/rows.h"
#include "runtime/ops/attention.h"
#include "runtime/ops/gemm.h"
#include "runtime/ops/hem.h"
#include "runtime/threads.h"
#include "support/error.h"

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

/// Declares q k v z with HEM: the used rows of the fused projection.
Linear declare_fused(const ParameterScope& p, int D) {
  constexpr int kUsed = MmrecBlock::kProjected, kAll = MmrecBlock::kProjections;
  using enum Role;
  const double xavier = std::sqrt(6.0 / (2.0 * D));  // bound for each D x D part
  // q k v z p e
  const std::vector<Role> rows = {kHeads, kUnits, kChannels, kChannels, kUnits, kUnits};
  const Tensor weight = p.declare("W_fused.weight", {kAll * D, D}, Initial::uniform(xavier),
                                  {rows, {kChannels}}),
               bias = p.declare("W_fused.bias", {kAll * D}, Initial::constant(0), {rows});
  if (weight.rank() == 0) return {};  // a table's scope
  return {weight.rows(0, kUsed * D), bias.rows(0, kUsed * D)};
}

/// Declares q k v z without HEM. The matrices are joined, so that the same kernel multiplies by all
/// of them at once.
Linear declare_unfused(const ParameterScope& p, int D) {
  using enum Role;
  return p.linear_joined({{"W_q", {{kHeads}, {kChannels}}},
                          {"W_k", {{kUnits}, {kChannels}}},
                          {"W_v", {{kChannels}, {kChannels}}},
                          {"W_z", {{kChannels}, {kChannels}}}},
                         D, D);
}

ops::RecurrenceWeights lay_out_recurrence(int D, Arena& arena, Precision precision) {
  const int panels = ops::recurrence_panels(D);
  ops::RecurrenceWeights packed;
  packed.forward = arena.tensor({panels, ops::recurrence_rows(D, precision), 2, kRecurrencePanel});
  if (precision != Precision::kInt8)
    packed.backward = arena.tensor({panels, D, 2, kRecurrencePanel});
  return packed;
}

/// Views of the state with chunks, [B][3D + 4].
struct State {
  State(const Tensor& state, int D)
      : h(state.columns(0, D)),
        sum(state.columns(D, 2 * D)),
        slot(state.columns(2 * D, 3 * D)),
        position(state.columns(3 * D, 3 * D + 1)),
        later(state.columns(3 * D + 1, 3 * D + 2)) {}
  static int width(int D) { return 3 * D + 4; }

  Tensor h;
  Tensor sum;       ///< of the block's output over the chunk up to now
  Tensor slot;      ///< what attention reads in this chunk, if it is a later one
  Tensor position;  ///< in the chunk, [B][1]
  Tensor later;     ///< 0 in the first chunk, then 1
};

/// Fills a column [B][1].
void fill(const Tensor& column, float value) {
  for (int b = 0; b < column.size(0); ++b) column.at(b).data()[0] = value;
}

/// sum[b] += sum over t of sequence[t][b], in the order of t. sequence [T][B][D], sum [B][D].
void add_over_time(const Tensor& sequence, const Tensor& sum) {
  constexpr int kColumns = 64;  // of a task
  const int T = sequence.size(0), B = sequence.size(1), D = sequence.size(2),
            groups = (D + kColumns - 1) / kColumns;
  parallel_for(B * groups, [&](int task) {
    const int b = task / groups, begin = task % groups * kColumns,
              count = std::min(kColumns, D - begin);
    float* into = sum.data() + static_cast<int64_t>(b) * sum.stride(0) + begin;
    const float* from = sequence.data() + static_cast<int64_t>(b) * sequence.stride(1) + begin;
    for (int t = 0; t < T; ++t, from += sequence.stride(0))
      for (int d = 0; d < count; ++d) into[d] += from[d];
  });
}

/// The masks of a chunk: each has its own, since its rows count from 0.
BlockDropout masks_of(const BlockDropout& dropout, int chunk) {
  BlockDropout masks = dropout;
  for (ops::Dropout* mask : {&masks.mixer, &masks.ffn_hidden, &masks.ffn_output})
    mask->key.low += static_cast<uint32_t>(chunk);
  return masks;
}

}  // namespace

std::vector<std::string_view> MmrecBlock::fields() const {
  return {"heads",    "mem_slots",  "hem",         "dpg",    "dpg_rank", "uboo",
          "lambda_p", "chunk_size", "carry_state", "memory", "gates"};
}

void MmrecBlock::check_values() const {
  // far beyond any model; keeps products of sizes in range
  constexpr int kMaxSlots = 1 << 20, kMaxRank = 1 << 16;
  const Config& c = config_;
  require_field(c.heads >= 1 && c.dim % c.heads == 0, "heads",
                fmt::format("must divide dim = {}, not be {}", c.dim, c.heads));
  require_field(c.mem_slots >= 16 && c.mem_slots <= kMaxSlots && c.mem_slots % 16 == 0, "mem_slots",
                fmt::format("must be a multiple of 16 up to {}, not {}", kMaxSlots, c.mem_slots));
  require_field(c.memory == "random" || c.memory == "learned", "memory",
                fmt::format("must be random or learned, not {}", c.memory));
  require_field(c.gates == "drawn" || c.gates == "spread", "gates",
                fmt::format("must be drawn or spread, not {}", c.gates));
  require_field(c.dpg_rank >= 1 && c.dpg_rank <= kMaxRank, "dpg_rank",
                fmt::format("must be between 1 and {}, not {}", kMaxRank, c.dpg_rank));
  require_field(c.lambda_p >= 0, "lambda_p", fmt::format("must not be negative: {}", c.lambda_p));
}

std::string MmrecBlock::describe() const {
  const Config& c = config_;
  return fmt::format("{} heads{}{}{}{}", c.heads, c.hem ? "" : ", no HEM", c.dpg ? ", DPG" : "",
                     c.uboo ? ", UBOO" : "",
                     c.chunk_size > 0 ? fmt::format(", chunks of {}", c.chunk_size) : "");
}

MmrecBlock::Weights::Weights(const Config& config, const ParameterScope& p) {
  using enum Role;
  const int D = config.dim, R = mdi_gamma_width(D);
  projection = config.hem ? declare_fused(p, D) : declare_unfused(p, D);
  core_gate = p.linear("W_g", D, D, {{kUnits}, {kChannels}});
  norm1 = p.norm("norm1", D);
  const Tensor norm2 = p.norm("norm2", D);
  const Linear mdi_gate = p.linear("mdi.W_g", D, 2 * D, {{kUnits}, {kChannels, kChannels}});
  if (mdi_gate.weight.rank() != 0) {  // not a table's scope
    mdi_gate_z = mdi_gate.weight.columns(0, D);
    mdi_gate_h = mdi_gate.weight.columns(D, 2 * D);
  }
  mdi_gate_bias = mdi_gate.bias;
  // gamma is the product of two sigmoids
  const Initial gate_bias =
      config.gates == "spread" ? Initial::spread(0.1, 0.8) : Initial::fan_in(R);
  const Linear gamma_in = p.linear("mdi.W_gamma.0", R, D, {{kUnits}, {kChannels}}),
               gamma_out = p.linear("mdi.W_gamma.2", D, R, {{kUnits}, {kUnits}}, gate_bias);
  const Linear context_in = p.linear("mdi.W_context.0", R, D, {{kUnits}, {kUnits}}),  // of k
      context_out = p.linear("mdi.W_context.2", D, R, {{kUnits}, {kUnits}}, gate_bias);
  mdi_gamma = {gamma_in.weight,   gamma_in.bias,   gamma_out.weight,   gamma_out.bias,
               context_in.weight, context_in.bias, context_out.weight, context_out.bias};
  query = p.linear("multi_mem_attention.W_q", D, D, {{kHeads}, {kChannels}});
  output = p.linear("multi_mem_attention.W_o", D, D, {{kChannels}, {kHeads}});
  ffn = declare_ffn(norm2, p, D);
  if (learns_memory(config)) {
    const std::vector<int> shape = {top_slots(config), D};
    const Initial initial = Initial::normal(kSlotDeviation);
    memory_keys = p.declare_last("memory.k", shape, initial, {{kKeySlots}, {kSlotUnits}});
    memory_values = p.declare_last("memory.v", shape, initial, {{kValueSlots}, {kSlotUnits}});
  }
  if (config.dpg) {
    const Linear down = p.linear_last("W_gamma_down", config.dpg_rank, D, {{kUnits}, {kChannels}}),
                 up = p.linear_last("W_gamma_up", D, config.dpg_rank, {{kUnits}, {kUnits}});
    dpg_gamma = {down.weight, down.bias, up.weight, up.bias};
  }
  if (config.uboo) {
    const Linear error_in = p.linear_last("mdi.W_planning_error.0", D, D, {{kUnits}, {kChannels}}),
                 error_out = p.linear_last("mdi.W_planning_error.2", D, D, {{kUnits}, {kUnits}}),
                 target_in =
                     p.linear_last("mdi.W_planning_target.0", D, D, {{kUnits}, {kChannels}}),
                 target_out = p.linear_last("mdi.W_planning_target.2", D, D, {{kUnits}, {kUnits}});
    planning_loss = {error_in.weight,  error_in.bias,  error_out.weight,  error_out.bias,
                     target_in.weight, target_in.bias, target_out.weight, target_out.bias};
  }
}

void MmrecBlock::bind(const ParameterScope& weights, const ParameterScope& gradients) {
  weights_ = Weights(config_, weights);
  gradients_ = Weights(config_, gradients);
}

int MmrecBlock::state_width() const { return config_.chunk_size > 0 ? State::width(D_) : D_; }

int64_t MmrecBlock::widest_row() const {
  const int64_t scores = int64_t{config_.heads} * top_slots(config_);
  return std::max<int64_t>({ffn_width(D_), scores, config_.dpg ? config_.dpg_rank : 0});
}

double MmrecBlock::training_flops() const {
  const double D = D_;
  const double projection = kProjected * D * D, mdi_gamma = 4 * D * mdi_gamma_width(D_),
               recurrence = 2 * D * D, mdi_input = D * D;
  const double dpg = config_.dpg ? 2 * config_.dpg_rank * D : 0;
  // Of the attention, only the first chunk's part is products over all positions.
  const int chunk = config_.chunk_size;
  const double attending = chunk > 0 ? std::min(1., static_cast<double>(chunk) / T_) : 1;
  const double query = attending * D * D, output = attending * D * D;
  const double products =
      projection + mdi_gamma + dpg + mdi_input + recurrence + query + output + ffn_products(D_);
  const double attention = attending * 2 * top_slots(config_) * D;
  // Four products forward; backward, the input of one of the two MLPs has no gradient.
  const double uboo = config_.uboo ? (4 + 7) * D * D : 0;
  // Backward does twice the work of forward, except attention whose memory has no gradient.
  return 2 * (3 * products + uboo + (learns_memory(config_) ? 3 : 2) * attention);
}

std::vector<Drawn> MmrecBlock::lay_out_drawn(Arena& arena) {
  if (learns_memory(config_)) return {};
  drawn_keys_ = arena.tensor({top_slots(config_), D_});
  drawn_values_ = arena.tensor({top_slots(config_), D_});
  return {{"memory.k", drawn_keys_, kTopDeviation}, {"memory.v", drawn_values_, kTopDeviation}};
}

std::vector<PackableWeight> MmrecBlock::packable_weights() {
  Weights& w = weights_;
  ops::MdiGammaWeights& gamma = w.mdi_gamma;
  std::vector<PackableWeight> weights = {
      {&w.projection.weight, w.norm1},
      {&w.mdi_gate_z},
      {&gamma.gamma_in},
      {&gamma.gamma_out},
      {&gamma.context_in},
      {&gamma.context_out},
      {&w.query.weight},
      {learns_memory(config_) ? &w.memory_keys : &drawn_keys_, {}, true},
      {&w.output.weight},
      {&w.ffn.in, w.ffn.norm},
      {&w.ffn.out}};
  if (config_.dpg)
    for (ops::Weight* weight : {&w.dpg_gamma.down, &w.dpg_gamma.up}) weights.push_back({weight});
  return weights;
}

void MmrecBlock::lay_out_packed(Arena& arena, Precision precision) {
  Block::lay_out_packed(arena, precision);
  packed_ = lay_out_recurrence(D_, arena, precision);
}

void MmrecBlock::pack() {
  Block::pack();
  ops::recurrence_pack(weights_.core_gate.weight, weights_.mdi_gate_h, packed_);
}

void MmrecBlock::round_to_int8() {
  Block::round_to_int8();
  for (const Tensor& gate : {Tensor(weights_.core_gate.weight), Tensor(weights_.mdi_gate_h)})
    ops::round_to_int8(gate);
}

void MmrecBlock::lay_out_saved(Arena& arena, Precision precision) {
  const int N = rows(), D = D_, R = mdi_gamma_width(D);
  Saved& s = saved_;
  s.rstd = arena.tensor({N});
  s.qkvz = arena.tensor({N, kProjected * D});
  s.mdi_gamma = {arena.tensor({N, R}), arena.tensor({N, R}), arena.tensor({N, D}),
                 arena.tensor({N, D})};
  s.gm = s.gamma = arena.tensor({N, D});
  if (config_.dpg) {
    s.dpg_hidden = arena.tensor({N, config_.dpg_rank});
    s.gamma = arena.tensor({N, D});
  }
  s.packed = packed_.forward.rank() ? packed_ : lay_out_recurrence(D, arena, Precision::kFloat32);
  s.mdi_input = arena.tensor({T_, B_, D});
  s.state = arena.tensor({T_ + most_chunks(), B_, D});
  s.gates = arena.tensor({T_, B_, 2 * D});
  if (config_.chunk_size > 0) s.slots = arena.tensor({most_chunks(), B_, D});
  s.q = arena.tensor({N, D});
  s.p = arena.tensor({N, config_.heads, top_slots(config_)});
  s.context = arena.tensor({N, D});
  s.r = arena.tensor({N, D});
  s.ffn = lay_out_ffn(N, D, arena, precision);
  chunks_.reserve(static_cast<size_t>(most_chunks()));
}

void MmrecBlock::lay_out_scratch(Arena& arena, bool backward) {
  const int N = rows(), D = D_;
  Temporaries& d = temporaries_;
  d.mixed = arena.tensor({N, D});
  if (config_.chunk_size > 0) d.slot_output = arena.tensor({B_, D});
  if (!backward) return;
  for (Tensor* tensor : {&d.dr, &d.dmixed, &d.dcontext, &d.dq, &d.dgamma})
    *tensor = arena.tensor({N, D});
  d.dstate = arena.tensor({T_ + most_chunks(), B_, D});
  for (Tensor* tensor : {&d.dstate_in, &d.dmixed_sum}) *tensor = arena.tensor({B_, D});
  d.dpre = arena.tensor({T_, B_, 2 * D});
  d.dqkvz = arena.tensor({N, kProjected * D});
  d.dscores = arena.tensor({config_.heads, N, top_slots(config_)});
  if (config_.uboo) {
    ops::PlanningLossSaved& p = d.planning_loss;
    for (Tensor* tensor : {&p.m, &p.error_slope, &p.error_activated, &p.target_slope,
                           &p.target_activated, &p.difference})
      *tensor = arena.tensor({N, D});
    d.planning_losses = arena.tensor({N});
  }
}

int MmrecBlock::most_chunks() const {
  const int64_t size = config_.chunk_size;
  return size == 0 ? 1 : static_cast<int>((T_ + 2 * size - 2) / size);
}

void MmrecBlock::divide(const Tensor& state) {
  chunks_.clear();
  if (config_.chunk_size == 0) {
    chunks_.push_back({.index = 0, .begin = 0, .end = T_, .first = true});
    return;
  }
  const State now(state, D_);
  for (int b = 1; b < B_; ++b)
    if (now.position.at(b).data()[0] != now.position.data()[0] ||
        now.later.at(b).data()[0] != now.later.data()[0])
      fail("the sequences of a batch must be at the same position of a chunk");
  int position = static_cast<int>(now.position.data()[0]);
  bool first = now.later.data()[0] == 0;
  for (int begin = 0; begin < T_;) {
    const int end = std::min(T_ - begin, config_.chunk_size - position) + begin;
    chunks_.push_back({static_cast<int>(chunks_.size()), begin, end, first});
    begin = end;
    position = 0;
    first = false;
  }
}

void MmrecBlock::forward(const Tensor& x, const Tensor& state, const BlockDropout& dropout,
                         const Tensor& y) {
  const Weights& w = weights_;
  const Saved& s = saved_;
  const Projected in(s.qkvz);
  divide(state);

  // Everything independent of h: the whole window at once.
  ops::hem_forward(x, w.norm1, w.projection.weight, w.projection.bias, s.rstd, s.qkvz);
  ops::mdi_gamma_forward(in.z, in.k, w.mdi_gamma, s.mdi_gamma, s.gm);
  if (config_.dpg) ops::dpg_gamma_forward(in.z, w.dpg_gamma, s.dpg_hidden, s.gamma);
  ops::linear(in.z, w.mdi_gate_z, by_row(s.mdi_input), {.bias = w.mdi_gate_bias});
  if (packed_.forward.rank() == 0) ops::recurrence_pack(w.core_gate.weight, w.mdi_gate_h, s.packed);

  for (const Chunk& chunk : chunks_) {
    forward_chunk(chunk, x, state, dropout, y);
    advance(chunk, y, state);
  }
}

void MmrecBlock::forward_chunk(const Chunk& chunk, const Tensor& x, const Tensor& state,
                               const BlockDropout& dropout, const Tensor& y) {
  const Weights& w = weights_;
  const Saved& s = saved_;
  const Projected in(rows_of(chunk, s.qkvz));
  const BlockDropout masks = masks_of(dropout, chunk.index);
  const Tensor states = states_of(chunk, s.state), mixed = rows_of(chunk, temporaries_.mixed),
               r = rows_of(chunk, s.r);

  copy_values(state.columns(0, D_), states.at(0));
  ops::recurrence_forward(s.packed, w.core_gate.bias, s.mdi_input.rows(chunk.begin, chunk.end),
                          by_time(in.z), times_of(chunk, s.gamma), times_of(chunk, s.gm), states,
                          s.gates.rows(chunk.begin, chunk.end));
  const Tensor h = by_row(states.rows(1, states.size(0)));

  if (chunk.first) {
    const Tensor q = rows_of(chunk, s.q), context = rows_of(chunk, s.context);
    ops::linear(h, w.query.weight, q,
                {.bias = w.query.bias, .residual = in.q, .beta = kQueryShare});
    ops::attention_forward(q, keys(), values(), rows_of(chunk, s.p), context);
    ops::linear(context, w.output.weight, mixed,
                {.bias = w.output.bias, .residual = h, .beta = 1.f});
  } else {
    // A softmax over a single slot is 1, whatever the query: the slot's output serves all
    // positions.
    const Tensor slots = s.slots.at(chunk.index), output = temporaries_.slot_output;
    copy_values(State(state, D_).slot, slots);
    ops::linear(slots, w.output.weight, output, {.bias = w.output.bias});
    for_each_row(h.size(0), [&, D = D_, B = B_](int64_t n) {
      const float *own = h.data() + n * D, *shared = output.data() + n % B * D;
      float* sum = mixed.data() + n * D;
      for (int d = 0; d < D; ++d) sum[d] = own[d] + shared[d];
    });
  }
  ops::dropout_forward(rows_of(chunk, x), mixed, in.v, kValueShare, masks.mixer, r);
  ops::ffn_forward(r, w.ffn, masks.ffn_hidden, masks.ffn_output, ffn_of(chunk), rows_of(chunk, y));
}

void MmrecBlock::advance(const Chunk& chunk, const Tensor& y, const Tensor& state) const {
  const Tensor states = states_of(chunk, saved_.state);
  copy_values(states.at(states.size(0) - 1), state.columns(0, D_));
  if (config_.chunk_size == 0) return;
  const State now(state, D_);
  add_over_time(times_of(chunk, y), now.sum);
  const int position = static_cast<int>(now.position.data()[0]) + chunk.end - chunk.begin;
  fill(now.position, static_cast<float>(position % config_.chunk_size));
  if (position < config_.chunk_size) return;
  fill(now.later, 1);
  for (int b = 0; b < B_; ++b) {
    float *slot = now.slot.at(b).data(), *sum = now.sum.at(b).data();
    for (int d = 0; d < D_; ++d) slot[d] = sum[d] / static_cast<float>(config_.chunk_size);
  }
  set_zero(now.sum);
  if (!config_.carry_state) set_zero(now.h);
}

void MmrecBlock::backward(const Tensor& dy, const Tensor& x, const BlockDropout& dropout,
                          float share, const Tensor& dx) {
  const Weights &w = weights_, &g = gradients_;
  const Saved& s = saved_;
  const Temporaries& d = temporaries_;
  const Projected in(s.qkvz), din(d.dqkvz);

  auxiliary_loss_ = 0;
  for (auto chunk = chunks_.rbegin(); chunk != chunks_.rend(); ++chunk)
    backward_chunk(*chunk, dy, dropout, share);

  const Tensor dmdi = by_row(d.dpre).columns(D_, 2 * D_);
  ops::linear_gradients(dmdi, in.z, g.mdi_gate_z);
  ops::gemm_nn(dmdi, w.mdi_gate_z, din.z, {.residual = din.z, .beta = 1.f});
  if (config_.dpg)
    ops::dpg_gamma_backward(d.dgamma, din.z, in.z, w.dpg_gamma, s.dpg_hidden, s.gamma, din.z,
                            g.dpg_gamma);
  // Without DPG gm is passed as gamma too. Its gradient is then dgamma + kMdiShare * dgamma.
  ops::mdi_gamma_backward(d.dgamma, config_.dpg ? kMdiShare : 1.f + kMdiShare, din.z, in.z, in.k,
                          w.mdi_gamma, s.mdi_gamma, din.z, din.k, g.mdi_gamma);
  ops::hem_backward(d.dqkvz, d.dr, x, s.rstd, w.norm1, w.projection.weight, dx, g.norm1,
                    g.projection.weight, g.projection.bias);
}

/// Everything that depends on h; the last chunk comes first.
void MmrecBlock::backward_chunk(const Chunk& chunk, const Tensor& dy, const BlockDropout& dropout,
                                float share) {
  const Weights &w = weights_, &g = gradients_;
  const Saved& s = saved_;
  const Temporaries& d = temporaries_;
  const Projected in(rows_of(chunk, s.qkvz)), din(rows_of(chunk, d.dqkvz));
  const BlockDropout masks = masks_of(dropout, chunk.index);
  const Tensor dr = rows_of(chunk, d.dr), states = states_of(chunk, s.state),
               dstates = states_of(chunk, d.dstate);
  const int T = chunk.end - chunk.begin;
  const Tensor h = by_row(states.rows(1, T + 1)), h_previous = by_row(states.rows(0, T)),
               dh = by_row(dstates.rows(1, T + 1)),
               dmixed = chunk.first ? rows_of(chunk, d.dmixed) : dh, dq = rows_of(chunk, d.dq);

  ops::ffn_backward(rows_of(chunk, dy), rows_of(chunk, s.r), w.ffn, masks.ffn_output, ffn_of(chunk),
                    dr, g.ffn);
  ops::dropout_backward(dr, kValueShare, masks.mixer, dmixed, din.v);
  if (chunk.first) {
    attention_backward(chunk, dmixed, dq, din.q, dh);
  } else {
    set_zero(din.q);
    set_zero(d.dmixed_sum);  // before dh, which is dmixed here, gets further summands
    add_over_time(by_time(dmixed), d.dmixed_sum);
  }
  if (config_.carry_state && chunk.index + 1 < static_cast<int>(chunks_.size()))
    add_initial_gradient(chunks_[chunk.index + 1], dstates.at(T));
  if (config_.uboo) planning_loss(chunk, share);

  const auto recurrence = [&] {
    ops::recurrence_backward(s.packed, dstates.rows(1, T + 1), s.gates.rows(chunk.begin, chunk.end),
                             by_time(in.z), times_of(chunk, s.gamma), times_of(chunk, s.gm), states,
                             d.dpre.rows(chunk.begin, chunk.end), by_time(din.z),
                             times_of(chunk, d.dgamma), d.dstate_in);
  };
  const auto output_gradients = [&] {
    if (chunk.first)
      ops::linear_gradients(dmixed, rows_of(chunk, s.context), g.output.weight, g.output.bias);
    else
      ops::linear_gradients(d.dmixed_sum, s.slots.at(chunk.index), g.output.weight, g.output.bias);
  };
  const auto query_gradients = [&] {
    if (chunk.first) ops::linear_gradients(dq, h, g.query.weight, g.query.bias);
  };
  // nothing depends on these gradients: compute them on the idle cores
  if (ops::recurrence_backward_on_one_core(T, B_)) {
    parallel_for(3, [&](int task) {
      task == 0 ? recurrence() : task == 1 ? output_gradients() : query_gradients();
    });
  } else {
    recurrence();
    output_gradients();
    query_gradients();
  }
  const Tensor dpre = rows_of(chunk, by_row(d.dpre));
  ops::linear_gradients(dpre.columns(0, D_), h_previous, g.core_gate.weight, g.core_gate.bias);
  ops::linear_gradients(dpre.columns(D_, 2 * D_), h_previous, g.mdi_gate_h, g.mdi_gate_bias);
}

/// From the gradient of h + attention to those of the query's two summands and of h.
void MmrecBlock::attention_backward(const Chunk& chunk, const Tensor& dmixed, const Tensor& dq,
                                    const Tensor& dprojected_q, const Tensor& dh) {
  const Weights &w = weights_, &g = gradients_;
  const Saved& s = saved_;
  const Temporaries& d = temporaries_;
  const Tensor dcontext = rows_of(chunk, d.dcontext), p = rows_of(chunk, s.p),
               dscores = d.dscores.slice(1, chunk.begin * B_, chunk.end * B_);
  ops::gemm_nn(dmixed, w.output.weight, dcontext);
  ops::attention_backward(dcontext, keys(), values(), p, dscores, dq);
  if (g.memory_keys.rank())
    ops::attention_backward_memory(dcontext, rows_of(chunk, s.q), p, dscores, g.memory_keys,
                                   g.memory_values);
  // no mask; da scales in place, db is q's share
  ops::dropout_backward(dq, kQueryShare, {}, dq, dprojected_q);
  ops::gemm_nn(dq, w.query.weight, dh, {.residual = dmixed, .beta = 1.f});
}

void MmrecBlock::add_initial_gradient(const Chunk& chunk, const Tensor& sum) const {
  add_over_time(temporaries_.dstate_in.reshape({1, B_, D_}), sum);
  if (config_.uboo) add_over_time(states_of(chunk, temporaries_.dstate).rows(0, 1), sum);
}

void MmrecBlock::planning_loss(const Chunk& chunk, float share) {
  const Saved& s = saved_;
  const Temporaries& d = temporaries_;
  const int T = chunk.end - chunk.begin;
  const Tensor states = states_of(chunk, s.state), dstates = states_of(chunk, d.dstate);
  const Tensor h_previous = by_row(states.rows(0, T)), dh_previous = by_row(dstates.rows(0, T)),
               g = rows_of(chunk, by_row(s.gates)).columns(D_, 2 * D_),
               losses = d.planning_losses.rows(chunk.begin * B_, chunk.end * B_);
  const ops::PlanningLossSaved& all = d.planning_loss;
  const ops::PlanningLossSaved saved{rows_of(chunk, all.m),
                                     rows_of(chunk, all.error_slope),
                                     rows_of(chunk, all.error_activated),
                                     rows_of(chunk, all.target_slope),
                                     rows_of(chunk, all.target_activated),
                                     rows_of(chunk, all.difference)};
  // of a mean over all tokens and units
  const double weight = config_.lambda_p / (static_cast<double>(rows()) * D_);
  set_zero(dstates.at(0));
  ops::planning_loss_forward(h_previous, Projected(rows_of(chunk, s.qkvz)).z, g,
                             rows_of(chunk, s.gm), weights_.planning_loss, saved, losses);
  ops::planning_loss_backward(static_cast<float>(share * weight), dh_previous, h_previous,
                              weights_.planning_loss, saved, dh_previous, gradients_.planning_loss);
  for (int n = 0; n < losses.size(0); ++n)
    auxiliary_loss_ += weight * static_cast<double>(losses.data()[n]);
}

StateRange MmrecBlock::state_range() const {
  const int64_t D = D_;
  const float *gamma = saved_.gamma.data(), *gm = saved_.gm.data(), *g = saved_.gates.data() + D_,
              *h = saved_.state.data();
  const auto factor = [=](int64_t n, int d) {
    return gamma[D * n + d] + kMdiShare * (1 + gm[D * n + d] - g[2 * D * n + d]);
  };
  const int64_t states = (T_ + std::ssize(chunks_)) * B_;
  return {largest(rows(), D_, factor),
          largest(states, D_, [=](int64_t n, int d) { return std::abs(h[D * n + d]); })};
}

std::vector<NamedTensor> MmrecBlock::saved() const {
  const Saved& s = saved_;
  std::vector<NamedTensor> saved{{"the projection q k v z", by_time(s.qkvz)},
                                 {"MDI's decay gamma", by_time(s.gm)}};
  if (config_.dpg) saved.push_back({"DPG's decay gamma", by_time(s.gamma)});
  for (const Chunk& chunk : chunks_) {
    const Tensor states = states_of(chunk, s.state);
    saved.push_back({"the state h", states.rows(1, states.size(0)), chunk.begin});
    if (chunk.first) {
      saved.push_back({"the attention's query", times_of(chunk, s.q), chunk.begin});
      saved.push_back({"the attention's context", times_of(chunk, s.context), chunk.begin});
    } else {
      saved.push_back(
          {"the slot of the chunk", s.slots.rows(chunk.index, chunk.index + 1), chunk.begin});
    }
    saved.push_back({"the residual r", times_of(chunk, s.r), chunk.begin});
  }
  return saved;
}

}  // namespace mmrec
