#include "model/model.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "model/architecture.h"
#include "runtime/arena.h"
#include "runtime/context.h"
#include "runtime/flush_denormals.h"
#include "runtime/kernel_registry.h"
#include "runtime/ops/embedding.h"
#include "runtime/ops/gemm.h"
#include "runtime/ops/linear_cross_entropy.h"
#include "runtime/ops/normal.h"
#include "runtime/ops/rmsnorm.h"
#include "runtime/rng.h"
#include "runtime/threads.h"
#include "support/error.h"

namespace mmrec {

namespace {

/// A model's layers, bound to its parameters, and all its memory. Allocated from one arena.
struct Activations {
  Activations(const Config& config, int T, int B, Model::Mode mode, Precision precision);

  /// Attaches the parameters. To count memory, only kGenerating needs them.
  void bind(const Config& config, const Parameters& parameters);
  void lay_out(Arena& arena);
  int rows() const { return T * B; }
  /// The input of block i. x(layers) is the input of the final norm.
  const Tensor& x(int i) const { return inputs[training() ? i : i % 2]; }
  bool training() const { return mode == Model::Mode::kTraining || recomputing(); }
  bool generating() const { return mode == Model::Mode::kGenerating; }
  bool recomputing() const { return mode == Model::Mode::kRecomputing; }

  int T, B, D;
  Model::Mode mode;
  Precision precision;  // in which it computes
  std::vector<std::unique_ptr<Block>> blocks;
  ops::Weight embedding;         // the rows of real tokens
  std::vector<Drawn> drawn;      // of all blocks, in order
  Tensor state;                  // [L][B][block's state_width()]
  Tensor initial_state;          // recomputing only: the states at the start of the window
  Tensor scratch_state;          // recomputing only: [B][block's state_width()]
  std::vector<Tensor> inputs;    // [N][D]; training keeps all, inference alternates two
  Tensor head_input, head_rstd;  // normalised rows [N][D], row factors [N]
  Tensor token_loss, correct;    // [N]
  Tensor zeros, dhead, dx;       // training only: [N][D]
};

Activations::Activations(const Config& config, int T, int B, Model::Mode mode, Precision precision)
    : T(T),
      B(B),
      D(config.dim),
      mode(mode),
      precision(precision == Precision::kInt8 && !generating() ? Precision::kFloat32 : precision) {
  if (T < 1 || B < 1)
    fail_usage("a model needs at least one position and one sequence, not {} and {}", T, B);
  for (int layer = 0; layer < config.layers; ++layer) blocks.push_back(make_block(config, T, B));
  const int64_t rows = (int64_t{T} + 1) * B;
  if (rows > INT32_MAX / blocks[0]->widest_row())
    fail_usage(
        "{} sequences of {} positions at once are too many for dim {}: an array would have more "
        "than {} elements",
        B, T, D, INT32_MAX);
}

void Activations::bind(const Config& config, const Parameters& parameters) {
  for (int layer = 0; layer < config.layers; ++layer)
    blocks[layer]->bind(ParameterScope(parameters, parameters.weights(), block_prefix(layer)),
                        ParameterScope(parameters, parameters.gradients(), block_prefix(layer)));
  embedding = OuterWeights(config, ParameterScope(parameters, parameters.weights(), "")).embedding;
}

void Activations::lay_out(Arena& arena) {
  const int N = rows(), L = static_cast<int>(blocks.size());
  drawn.clear();
  for (int layer = 0; layer < L; ++layer)
    for (const Drawn& array : blocks[layer]->lay_out_drawn(arena))
      drawn.push_back({block_prefix(layer) + array.name, array.tensor, array.deviation});
  if (generating() && embedding.rank() != 0) {
    for (const auto& block : blocks) block->lay_out_packed(arena, precision);
    embedding.lay_out_packed(arena, precision);
  }
  const int width = blocks[0]->state_width();
  state = arena.tensor({L, B, width});
  if (recomputing()) {
    initial_state = arena.tensor({L, B, width});
    scratch_state = arena.tensor({B, width});
  }
  inputs.clear();
  for (int i = 0; i < (training() ? L + 1 : 2); ++i) inputs.push_back(arena.tensor({N, D}));
  if (mode == Model::Mode::kTraining)
    for (const auto& block : blocks) block->lay_out_saved(arena, precision);
  else
    arena.overlay(blocks, [&](const auto& block) { block->lay_out_saved(arena, precision); });
  arena.overlay(blocks, [&](const auto& block) { block->lay_out_scratch(arena, training()); });
  head_input = arena.tensor({N, D});
  head_rstd = arena.tensor({N});
  token_loss = arena.tensor({N});
  correct = arena.tensor({N});
  if (training()) {
    for (Tensor* tensor : {&zeros, &dhead, &dx}) *tensor = arena.tensor({N, D});
  }
}

/// Returns the dropout masks of a layer.
BlockDropout masks(int layer, const StepDropout& dropout) {
  const auto words = Philox(dropout.seed, rng_stream(Stream::kDropout, dropout.step));
  const auto first = words.block(2 * layer), second = words.block(2 * layer + 1);
  return {{dropout.p, {first[0], first[1]}},
          {dropout.p, {first[2], first[3]}},
          {dropout.p, {second[0], second[1]}}};
}

}  // namespace

void round_weights(const Config& config, const Parameters& parameters, Precision precision) {
  if (precision != Precision::kInt8) return;
  Activations all(config, 1, 1, Model::Mode::kInference, precision);
  all.bind(config, parameters);
  for (const auto& block : all.blocks) block->round_to_int8();
  ops::round_to_int8(all.embedding);
}

size_t model_bytes(const Config& config, int T, int B, Model::Mode mode, Precision precision) {
  Arena counting;
  Activations activations(config, T, B, mode, precision);
  if (mode == Model::Mode::kGenerating) {
    const Parameters table(config, Parameters::Arrays::kNone);
    if (parameter_count(table.table()) <= kMostParameters) activations.bind(config, table);
  }
  activations.lay_out(counting);
  return counting.used();
}

double training_flops(const Config& config, int T) {
  const double head = 3 * (2. * config.vocab_size * config.dim);
  return config.layers * make_block(config, T, 1)->training_flops() + head;
}

struct Model::Implementation : Activations {
  Implementation(const Config& config, int vocabulary, Parameters& parameters, int T, int B,
                 Mode mode, uint64_t seed, Precision precision);

  /// Makes the calling thread compute as the model does.
  struct Use {
    explicit Use(const Implementation& model)
        : context(model.context), precision(model.precision) {}
    Context::Use context;
    ScopedPrecision precision;
  };

  /// Computes the normalised rows that the head reads from the ids.
  void forward(const IntTensor& ids, const StepDropout& dropout);
  /// Adds the blocks' losses and ranges to `sum`.
  void backward(const IntTensor& ids, const StepDropout& dropout, float share,
                const std::function<void(int layer)>& after_block, LossSum& sum);
  /// Computes the activations of a block again.
  void recompute(int layer, const StepDropout& dropout);
  LossSum sum() const;

  Context& context = Context::current();
  OuterWeights weights, gradients;
  Tensor embedding_gradient;  // the rows of real tokens
  uint64_t seed;
  StepDropout dropout;  // of the last loss_and_gradients
  Arena arena;
};

Model::Implementation::Implementation(const Config& config, int vocabulary, Parameters& parameters,
                                      int T, int B, Mode mode, uint64_t seed, Precision precision)
    : Activations(config, T, B, mode, precision),
      weights(config, ParameterScope(parameters, parameters.weights(), "")),
      gradients(config, ParameterScope(parameters, parameters.gradients(), "")),
      seed(seed) {
  if (vocabulary < 1 || vocabulary > config.vocab_size)
    fail_usage("a vocabulary of {} tokens does not fit a model with vocab_size {}", vocabulary,
               config.vocab_size);
  if (training() && !parameters.gradients().data())
    fail("a model in training mode needs parameters with gradients");
  if (training() && precision == Precision::kInt8)
    fail("a model in training mode cannot have weights of int8");
  bind(config, parameters);
  embedding = weights.embedding.rows(0, vocabulary);
  embedding_gradient = gradients.embedding.rows(0, vocabulary);
  arena = Arena::fitted([this](Arena& fitted) { lay_out(fitted); });
}

void Model::Implementation::forward(const IntTensor& ids, const StepDropout& dropout) {
  check_shape("model: ids", ids, {T, B});
  const FlushDenormals once_for_all_kernels;
  if (recomputing()) copy_values(state, initial_state);
  ops::embedding_forward(embedding, ids.reshape({rows()}), x(0));
  const int layers = static_cast<int>(blocks.size());
  for (int layer = 0; layer < layers; ++layer)
    blocks[layer]->forward(x(layer), state.at(layer), masks(layer, dropout), x(layer + 1));
  ops::rmsnorm_forward(x(layers), weights.norm, head_input, head_rstd);
}

/// Mirrors forward. dhead is the gradient with respect to head_input.
void Model::Implementation::backward(const IntTensor& ids, const StepDropout& dropout, float share,
                                     const std::function<void(int layer)>& after_block,
                                     LossSum& sum) {
  const FlushDenormals once_for_all_kernels;
  const int layers = static_cast<int>(blocks.size());
  ops::rmsnorm_backward(dhead, zeros, x(layers), head_rstd, weights.norm, dx, gradients.norm);
  for (int layer = layers - 1; layer >= 0; --layer) {
    Block& block = *blocks[layer];
    if (recomputing() && layer < layers - 1) recompute(layer, dropout);
    block.backward(dx, x(layer), masks(layer, dropout), share, dx);
    sum.range |= block.state_range();  // of what backward has just read
    sum.auxiliary += block.auxiliary_loss() * rows();
    if (after_block) after_block(layer);
  }
  ops::embedding_backward(dx, ids.reshape({rows()}), embedding_gradient);
}

void Model::Implementation::recompute(int layer, const StepDropout& dropout) {
  copy_values(initial_state.at(layer), scratch_state);
  // the output is the next block's input, which gets the same values again
  blocks[layer]->forward(x(layer), scratch_state, masks(layer, dropout), x(layer + 1));
}

LossSum Model::Implementation::sum() const {
  LossSum total{.tokens = rows()};
  for (int n = 0; n < rows(); ++n) {
    total.loss += token_loss.data()[n];
    total.correct += correct.data()[n];
  }
  return total;
}

Model::Model(const Config& config, int vocabulary, Parameters& parameters, int T, int B, Mode mode,
             uint64_t seed, Precision precision)
    : implementation_(std::make_unique<Implementation>(config, vocabulary, parameters, T, B, mode,
                                                       seed, precision)) {
  draw(0);
}
Model::Model(Model&&) noexcept = default;
Model::~Model() = default;

int Model::T() const { return implementation_->T; }
int Model::B() const { return implementation_->B; }
size_t Model::bytes() const { return implementation_->arena.used(); }
const Tensor& Model::state() const { return implementation_->state; }
void Model::clear_state() { set_zero(state()); }
const std::vector<Drawn>& Model::drawn() const { return implementation_->drawn; }
bool Model::has_auxiliary_loss() const { return implementation_->blocks[0]->has_auxiliary_loss(); }
const Tensor& Model::token_loss() const { return implementation_->token_loss; }

void Model::draw(uint64_t number) {
  const Implementation::Use use(*implementation_);
  const Philox random(implementation_->seed, rng_stream(Stream::kMemory, number));
  parallel_for(static_cast<int>(drawn().size()), [&](int i) {
    uint64_t counter = 0;  // one counter value gives four numbers
    for (int before = 0; before < i; ++before)
      counter += static_cast<uint64_t>(drawn()[before].tensor.count() / 4);
    const Drawn& array = drawn()[i];
    ops::fill_normal(random, counter, array.deviation, array.tensor);
  });
  if (implementation_->generating()) pack();
}

void Model::pack() {
  Implementation& m = *implementation_;
  if (!m.generating()) fail("pack needs a model in generating mode");
  const Implementation::Use use(m);
  for (const auto& block : m.blocks) block->pack();
  ops::pack(m.embedding);
}

LossSum Model::loss(const IntTensor& ids, const IntTensor& targets) {
  Implementation& m = *implementation_;
  check_shape("model: targets", targets, {m.T, m.B});
  const Implementation::Use use(m);
  m.forward(ids, {});
  ops::linear_cross_entropy(m.head_input, m.embedding, targets.reshape({m.rows()}), m.token_loss,
                            m.correct);
  return m.sum();
}

LossSum Model::loss_and_gradients(const IntTensor& ids, const IntTensor& targets,
                                  const StepDropout& dropout, float share,
                                  const std::function<void(int layer)>& after_block) {
  Implementation& m = *implementation_;
  if (!m.training()) fail("loss_and_gradients needs a model in training mode");
  check_shape("model: targets", targets, {m.T, m.B});
  const Implementation::Use use(m);
  m.dropout = dropout;
  m.forward(ids, dropout);
  ops::linear_cross_entropy_with_gradient(m.head_input, m.embedding, targets.reshape({m.rows()}),
                                          share / static_cast<float>(m.rows()), m.token_loss,
                                          m.correct, m.dhead, m.embedding_gradient);
  LossSum sum = m.sum();
  m.backward(ids, dropout, share, after_block, sum);
  return sum;
}

std::string Model::first_non_finite() {
  Implementation& m = *implementation_;
  if (!m.training())
    fail("first_non_finite needs a model in training mode: another does not keep a layer's values");
  const Implementation::Use use(m);
  // Returns the token of the first non-finite element, from 1, or 0. Time is the outermost axis.
  const auto bad_token = [](const Tensor& tensor, int first_token = 0) {
    for (int t = 0; t < tensor.size(0); ++t) {
      const Tensor now = tensor.at(t);
      if (!std::all_of(now.data(), now.data() + now.count(),
                       [](float value) { return std::isfinite(value); }))
        return first_token + t + 1;
    }
    return 0;
  };
  const auto by_time = [&](const Tensor& rows) { return rows.reshape({m.T, m.B, m.D}); };
  const int layers = static_cast<int>(m.blocks.size());
  for (int layer = 0; layer < layers; ++layer) {
    if (const int token = bad_token(by_time(m.x(layer))))
      return fmt::format("blocks.{}: the input of token {}", layer, token);
    if (m.recomputing()) m.recompute(layer, m.dropout);
    for (const auto& [name, tensor, first_token] : m.blocks[layer]->saved())
      if (const int token = bad_token(tensor, first_token))
        return fmt::format("blocks.{}: {} of token {}", layer, name, token);
  }
  if (const int token = bad_token(by_time(m.x(layers))))
    return fmt::format("the last block's output of token {}", token);
  const int token = bad_token(m.token_loss.reshape({m.T, m.B}));
  return token ? fmt::format("the loss of token {}", token) : "";
}

void Model::read(const IntTensor& ids) {
  const Implementation::Use use(*implementation_);
  implementation_->forward(ids, {});
}

void Model::logits(const IntTensor& ids, const Tensor& logits) {
  Implementation& m = *implementation_;
  check_shape("model: logits", logits, {m.T, m.B, m.embedding.size(0)});
  const Implementation::Use use(m);
  m.forward(ids, {});
  ops::linear(m.head_input, m.embedding, logits.reshape({m.rows(), m.embedding.size(0)}));
}

}  // namespace mmrec
