#include "model/model.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "model/block.h"
#include "runtime/arena.h"
#include "runtime/ops/embedding.h"
#include "runtime/ops/gemm.h"
#include "runtime/ops/head_loss.h"
#include "runtime/ops/rmsnorm.h"
#include "support/error.h"

namespace mmrec {

namespace {

/// What a model computes with beside its parameters; all of it in one arena.
struct Activations {
  Activations(const Config& config, int T, int B, Model::Mode mode);

  void lay_out(Arena& arena);
  /// The input of block i; x(layers) is what the final norm reads.
  const Tensor& x(int i) const { return inputs[training() ? i : i % 2]; }
  const BlockSaved& block(int i) const { return saved[training() ? i : 0]; }
  bool training() const { return mode == Model::Mode::kTraining; }

  BlockSizes sizes;
  int layers;
  Model::Mode mode;
  Tensor state;                   // [L][B][D]
  std::vector<Tensor> inputs;     // [N][D]; training keeps all of them, inference two in turn
  std::vector<BlockSaved> saved;  // training: per layer, inference: one
  BlockScratch scratch;
  Tensor head_input, head_scale;  // normalised rows [N][D], factors [N]
  Tensor token_loss, correct;     // [N]
  Tensor zeros, dhead, dx;        // training: [N][D]
};

Activations::Activations(const Config& config, int T, int B, Model::Mode mode)
    : sizes{T, B, config.dim, config.heads, top_slots(config)}, layers(config.layers), mode(mode) {
  if (T < 1 || B < 1) fail_usage("a model needs at least one position and one sequence, not {} and {}", T, B);
  // The widest rows are the feed-forward layer's and the attention's probabilities.
  const int64_t rows = (int64_t{T} + 1) * B, width = std::max<int64_t>(4 * sizes.D, int64_t{sizes.heads} * sizes.slots);
  if (rows > INT32_MAX / width)
    fail_usage("{} sequences of {} positions at once are too many for dim {}: an array would have more than {} elements", B, T, sizes.D, INT32_MAX);
}

void Activations::lay_out(Arena& arena) {
  const int N = sizes.rows(), D = sizes.D;
  state = arena.tensor({layers, sizes.B, D});
  inputs.clear();
  for (int i = 0; i < (training() ? layers + 1 : 2); ++i) inputs.push_back(arena.tensor({N, D}));
  saved.clear();
  for (int i = 0; i < (training() ? layers : 1); ++i) saved.emplace_back(sizes, arena);
  scratch = BlockScratch(sizes, training(), arena);
  head_input = arena.tensor({N, D});
  head_scale = arena.tensor({N});
  token_loss = arena.tensor({N});
  correct = arena.tensor({N});
  if (training()) {
    for (Tensor* rows : {&zeros, &dhead, &dx}) *rows = arena.tensor({N, D});
  }
}

}  // namespace

size_t model_bytes(const Config& config, int T, int B, Model::Mode mode) {
  Arena counting;
  Activations(config, T, B, mode).lay_out(counting);
  return counting.used();
}

double training_flops(const Config& config, int64_t tokens) {
  const double D = config.dim, S = top_slots(config), V = config.vocab_size;
  // Forward, in multiples of 2 D^2 a token: projection 4, decay 1, MDI's input 1, recurrence 2, query 1, output 1, feed-forward 8. Backward
  // takes twice that, but for the attention where its memory has no gradient.
  const double products = 18 * D * D + (config.dpg ? 2 * config.dpg_rank * D : 0) + (config.uboo ? 4 * D * D : 0);
  const double block = 3 * (2 * products) + (learns_memory(config) ? 3 : 2) * (4 * S * D);
  return static_cast<double>(tokens) * (config.layers * block + 3 * (2 * V * D));
}

struct Model::Implementation : Activations {
  Implementation(const Config& config, int vocabulary, Parameters& parameters, int T, int B, Mode mode);

  void check(const IntTensor& ids, const Memory& memory) const;
  /// A layer's slots, [S][D] each: parameters, or of the memory that is handed in.
  Memory slots(int layer, const Memory& memory) const {
    if (learns_memory(config)) return {weights[layer].memory_keys, weights[layer].memory_values};
    return {memory.keys.at(layer), memory.values.at(layer)};
  }
  BlockDropout masks(int layer, const StepDropout& dropout) const;
  /// From ids to the normalised rows that the head reads.
  void forward(const IntTensor& ids, const Memory& memory, const StepDropout& dropout);
  void backward(const IntTensor& ids, const Memory& memory, const StepDropout& dropout);
  LossSum sum() const;

  Config config;
  Parameters& parameters;
  Tensor embedding, embedding_gradient;  // the vocabulary's rows
  Tensor norm, norm_gradient;
  std::vector<BlockWeights> weights, gradients;  // per layer
  Arena arena;
};

Model::Implementation::Implementation(const Config& config, int vocabulary, Parameters& parameters, int T, int B, Mode mode)
    : Activations(config, T, B, mode), config(config), parameters(parameters) {
  if (vocabulary < 1 || vocabulary > config.vocab_size)
    fail_usage("a vocabulary of {} tokens does not fit a model with vocab_size {}", vocabulary, config.vocab_size);
  embedding = parameters.weight("embedding.weight").rows(0, vocabulary);
  embedding_gradient = parameters.gradient("embedding.weight").rows(0, vocabulary);
  norm = parameters.weight("norm.weight");
  norm_gradient = parameters.gradient("norm.weight");
  for (int layer = 0; layer < config.layers; ++layer) {
    weights.emplace_back(config, parameters, parameters.weights(), layer);
    gradients.emplace_back(config, parameters, parameters.gradients(), layer);
  }
  arena = Arena::fitted([this](Arena& fitted) { lay_out(fitted); });
}

void Model::Implementation::check(const IntTensor& ids, const Memory& memory) const {
  check_shape("model: ids", ids, {sizes.T, sizes.B});
  if (learns_memory(config)) return;
  check_shape("model: memory.keys", memory.keys, {config.layers, sizes.slots, sizes.D});
  check_shape("model: memory.values", memory.values, {config.layers, sizes.slots, sizes.D});
}

BlockDropout Model::Implementation::masks(int layer, const StepDropout& dropout) const {
  const auto words = Philox(dropout.seed, rng_stream(Stream::kDropout, dropout.step));
  const auto first = words.block(2 * layer), second = words.block(2 * layer + 1);
  return {{dropout.p, {first[0], first[1]}}, {dropout.p, {first[2], first[3]}}, {dropout.p, {second[0], second[1]}}};
}

void Model::Implementation::forward(const IntTensor& ids, const Memory& memory, const StepDropout& dropout) {
  check(ids, memory);
  const auto copy = [](const Tensor& from, const Tensor& to) { std::copy_n(from.data(), from.count(), to.data()); };
  ops::embedding_forward(embedding, ids.reshape({sizes.rows()}), x(0));
  for (int layer = 0; layer < config.layers; ++layer) {
    copy(state.at(layer), block(layer).state.at(0));
    const Memory read = slots(layer, memory);
    block_forward(sizes, weights[layer], read.keys, read.values, masks(layer, dropout), x(layer), block(layer), scratch, x(layer + 1));
    copy(block(layer).state.at(sizes.T), state.at(layer));
  }
  ops::rmsnorm_forward(x(config.layers), norm, head_input, head_scale);
}

/// Mirrors forward; dhead is the gradient in head_input.
void Model::Implementation::backward(const IntTensor& ids, const Memory& memory, const StepDropout& dropout) {
  ops::rmsnorm_backward(dhead, zeros, x(config.layers), head_scale, norm, dx, norm_gradient);
  for (int layer = config.layers - 1; layer >= 0; --layer) {
    const Memory read = slots(layer, memory);
    block_backward(sizes, weights[layer], read.keys, read.values, masks(layer, dropout), x(layer), block(layer), scratch, dx, dx, gradients[layer]);
  }
  ops::embedding_backward(dx, ids.reshape({sizes.rows()}), embedding_gradient);
}

LossSum Model::Implementation::sum() const {
  LossSum total{.positions = sizes.rows()};
  for (int n = 0; n < sizes.rows(); ++n) {
    total.loss += token_loss.data()[n];
    total.correct += correct.data()[n];
  }
  return total;
}

Model::Model(const Config& config, int vocabulary, Parameters& parameters, int T, int B, Mode mode)
    : implementation_(std::make_unique<Implementation>(config, vocabulary, parameters, T, B, mode)) {}
Model::~Model() = default;

int Model::T() const { return implementation_->sizes.T; }
int Model::B() const { return implementation_->sizes.B; }
size_t Model::bytes() const { return implementation_->arena.used(); }
const Tensor& Model::state() const { return implementation_->state; }
void Model::clear_state() { set_zero(state()); }
const Tensor& Model::token_loss() const { return implementation_->token_loss; }

LossSum Model::loss(const IntTensor& ids, const IntTensor& targets, const Memory& memory) {
  Implementation& m = *implementation_;
  check_shape("model: targets", targets, {m.sizes.T, m.sizes.B});
  m.forward(ids, memory, {});
  ops::head_loss(m.head_input, m.embedding, targets.reshape({m.sizes.rows()}), m.token_loss, m.correct);
  return m.sum();
}

LossSum Model::loss_and_gradients(const IntTensor& ids, const IntTensor& targets, const Memory& memory, const StepDropout& dropout) {
  Implementation& m = *implementation_;
  if (!m.training()) fail("loss_and_gradients needs a model in training mode");
  check_shape("model: targets", targets, {m.sizes.T, m.sizes.B});
  m.forward(ids, memory, dropout);
  ops::head_loss_with_gradient(m.head_input, m.embedding, targets.reshape({m.sizes.rows()}), 1.f / static_cast<float>(m.sizes.rows()), m.token_loss,
                               m.correct, m.dhead, m.embedding_gradient);
  m.backward(ids, memory, dropout);
  return m.sum();
}

std::string Model::first_non_finite() const {
  const Implementation& m = *implementation_;
  if (!m.training()) fail("first_non_finite needs a model in training mode: another does not keep a layer's values");
  const auto is_finite = [](const Tensor& tensor) {
    return std::all_of(tensor.data(), tensor.data() + tensor.count(), [](float value) { return std::isfinite(value); });
  };
  for (int layer = 0; layer < m.config.layers; ++layer) {
    const BlockSaved& block = m.block(layer);
    const std::pair<const char*, const Tensor*> in_order[] = {
        {"the input", &m.x(layer)},          {"the projection q k v z", &block.qkvz},     {"the decay gm", &block.gm}, {"the state h", &block.state},
        {"the attention's query", &block.q}, {"the attention's context", &block.context}, {"the residual r", &block.r}};
    for (const auto& [name, tensor] : in_order)
      if (!is_finite(*tensor)) return fmt::format("blocks.{}: {}", layer, name);
  }
  if (!is_finite(m.x(m.config.layers))) return "the last block's output";
  return is_finite(m.token_loss) ? "" : "the loss";
}

void Model::read(const IntTensor& ids, const Memory& memory) { implementation_->forward(ids, memory, {}); }

void Model::logits(const IntTensor& ids, const Memory& memory, const Tensor& logits) {
  Implementation& m = *implementation_;
  check_shape("model: logits", logits, {m.sizes.T, m.sizes.B, m.embedding.size(0)});
  m.forward(ids, memory, {});
  ops::gemm_nt(m.head_input, m.embedding, logits.reshape({m.sizes.rows(), m.embedding.size(0)}));
}

}  // namespace mmrec
