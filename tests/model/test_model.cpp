#include "model/model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "model/architecture.h"
#include "model/config_file.h"
#include "model/memory.h"
#include "tests/common/bf16.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

// -------------------------------------------------------------------------------------- parameters

std::map<std::string, std::vector<int>> shapes(const Config& config) {
  std::map<std::string, std::vector<int>> shapes;
  for (const Parameter& parameter : parameter_table(config))
    shapes[parameter.name] = parameter.shape;
  return shapes;
}

TEST(Parameters, TinyHasTheDocumentedNamesShapesAndCount) {
  const Config tiny = preset("tiny");
  EXPECT_EQ(parameter_count(parameter_table(tiny)), 1'960'832);

  constexpr int D = 128;
  std::map<std::string, std::vector<int>> want = {{"embedding.weight", {5000, D}},
                                                  {"norm.weight", {D}}};
  for (int layer = 0; layer < 4; ++layer) {
    const std::string block = fmt::format("blocks.{}.", layer);
    const auto add_linear = [&](const std::string& name, int out, int in) {
      want[block + name + ".weight"] = {out, in};
      want[block + name + ".bias"] = {out};
    };
    for (const char* norm : {"norm1", "norm2"}) want[block + norm + ".weight"] = {D};
    add_linear("W_fused", 6 * D, D);
    add_linear("W_g", D, D);
    add_linear("mdi.W_g", D, 2 * D);
    for (const char* mlp : {"mdi.W_gamma", "mdi.W_context"}) {
      add_linear(std::string(mlp) + ".0", D / 4, D);
      add_linear(std::string(mlp) + ".2", D, D / 4);
    }
    add_linear("multi_mem_attention.W_q", D, D);
    add_linear("multi_mem_attention.W_o", D, D);
    add_linear("ffn.0", 4 * D, D);
    add_linear("ffn.3", D, 4 * D);
  }
  EXPECT_EQ(shapes(tiny), want);
}

TEST(Parameters, ALearnedMemoryAddsTheDocumentedOnes) {
  Config tiny = preset("tiny");
  std::map<std::string, std::vector<int>> want = shapes(tiny);
  for (int layer = 0; layer < 4; ++layer)
    for (const char* bank : {"k", "v"})
      want[fmt::format("blocks.{}.memory.{}", layer, bank)] = {64, 128};
  tiny.memory = "learned";
  EXPECT_EQ(shapes(tiny), want);

  Parameters parameters(tiny);
  parameters.initialise(1);
  double squares = 0;
  const Tensor slots = parameters.weight("blocks.3.memory.v");
  for (int64_t i = 0; i < slots.count(); ++i)
    squares += static_cast<double>(slots.data()[i]) * slots.data()[i];
  const double n = static_cast<double>(slots.count());
  EXPECT_NEAR(std::sqrt(squares / n), 0.02, 5 * 0.02 / std::sqrt(2 * n));
}

TEST(Parameters, AreDisjointAndAlignedInTheFlatArrays) {
  const Parameters parameters(preset("tiny"));
  int64_t end = 0;
  for (const Parameter& parameter : parameters.table()) {
    EXPECT_EQ(parameter.offset % 16, 0) << parameter.name;
    EXPECT_GE(parameter.offset, end) << parameter.name;
    end = parameter.offset + parameter.count;
    EXPECT_EQ(parameters.weight(parameter.name).count(), parameter.count) << parameter.name;
    EXPECT_EQ(parameters.gradient(parameter.name).data() - parameters.gradients().data(),
              parameter.offset)
        << parameter.name;
  }
  EXPECT_LE(end, parameters.weights().size(0));
  expect_error([&] { parameters.find("blocks.4.W_g.weight"); }, {"blocks.4.W_g.weight"});
}

constexpr Role kAny = Role::kUnits;

TEST(Parameters, ANameIsDeclaredOnce) {
  std::vector<Parameter> table;
  const ParameterScope scope(table, "blocks.0.");
  const Initial zero = Initial::constant(0);
  const Roles roles = {{kAny}, {kAny}};
  scope.linear("W_a", 4, 8, roles);
  scope.norm("norm", 4);
  expect_error([&] { scope.linear("W_a", 4, 8, roles); }, {"'blocks.0.W_a.weight'", "twice"});
  expect_error([&] { scope.norm("norm", 8); }, {"'blocks.0.norm.weight'", "twice"});
  expect_error([&] { scope.declare_last("W_a.bias", {4}, zero, {{kAny}}); },
               {"'blocks.0.W_a.bias'", "twice"});
  expect_error([&] { scope.linear_joined({{"W_b", roles}, {"W_b", roles}}, 4, 4); },
               {"'blocks.0.W_b.weight'", "twice"});
  EXPECT_NO_THROW(ParameterScope(table, "blocks.1.").linear("W_a", 4, 8, roles))
      << "of another block";
}

TEST(Parameters, AreBoundInTheirDeclaredShape) {
  const Parameters parameters(preset("tiny"));
  const ParameterScope block(parameters, parameters.weights(), "blocks.0.");
  const Roles roles = {{kAny}, {kAny}};
  EXPECT_EQ(block.linear("ffn.0", 512, 128, roles).weight.data(),
            parameters.weight("blocks.0.ffn.0.weight").data());
  // as many elements, the other way round
  expect_error([&] { block.linear("ffn.0", 128, 512, roles); },
               {"'blocks.0.ffn.0.weight'", "[512, 128]", "[128, 512]"});
  expect_error([&] { block.norm("norm1", 64); }, {"'blocks.0.norm1.weight'", "[128]", "[64]"});
  expect_error([&] { block.norm("norm3", 128); }, {"no parameter 'blocks.0.norm3.weight'"});
}

TEST(Parameters, EachAxisHasRoles) {
  std::vector<Parameter> table;
  const ParameterScope scope(table, "");
  const auto expect_refused = [&](const std::vector<int>& shape, const Roles& roles) {
    expect_error([&] { scope.declare("W", shape, Initial::constant(0), roles); },
                 {"'W'", "roles for each axis"});
  };
  expect_refused({4}, {});
  expect_refused({4}, {{kAny}, {kAny}});
  expect_refused({4, 8}, {{kAny}});
  expect_refused({4, 8}, {{}, {kAny}});
  expect_refused({4, 8}, {{kAny, kAny, kAny}, {kAny}});  // no three parts of equal size
  EXPECT_NO_THROW(scope.declare("W", {4, 9}, Initial::constant(0), {{kAny}, {kAny, kAny, kAny}}));
}

/// Expects values uniform in +-bound: checks the mean, and that they fill the range.
void expect_uniform(const std::string& name, const Tensor& values, double bound) {
  double sum = 0, largest = 0;
  for (int64_t i = 0; i < values.count(); ++i) {
    sum += values.data()[i];
    largest = std::max(largest, std::abs(static_cast<double>(values.data()[i])));
  }
  const double n = static_cast<double>(values.count());
  EXPECT_LE(largest, bound) << name;
  EXPECT_GE(largest, bound * (1 - 10 / n)) << name;  // fails with probability exp(-10)
  EXPECT_LE(std::abs(sum / n), 5 * bound / std::sqrt(3 * n)) << name;  // five standard deviations
}

TEST(Parameters, AreInitialisedAsDocumented) {
  Parameters parameters(preset("tiny"));
  parameters.initialise(1);
  for (const Parameter& parameter : parameters.table()) {
    const Tensor weight = parameters.weight(parameter.name);
    const std::string& name = parameter.name;
    const auto all_are = [&](float value) {
      return std::all_of(weight.data(), weight.data() + weight.count(),
                         [&](float w) { return w == value; });
    };
    if (name.find("norm") != name.npos)
      EXPECT_TRUE(all_are(1)) << name;
    else if (name.ends_with("W_fused.bias"))
      EXPECT_TRUE(all_are(0)) << name;
    else if (name.ends_with("W_fused.weight"))
      expect_uniform(name, weight, std::sqrt(6.0 / (128 + 128)));
    else if (name.ends_with(".bias"))
      expect_uniform(
          name, weight,
          1 / std::sqrt(static_cast<double>(
                  parameters.weight(name.substr(0, name.size() - 4) + "weight").size(1))));
    else
      expect_uniform(name, weight, 1 / std::sqrt(static_cast<double>(weight.size(1))));
  }
}

// gamma, the product of two sigmoids, then goes from 0.1 to 0.8 over the channels.
TEST(Parameters, SpreadGates) {
  Config config = preset("tiny");
  set_field(config, "gates=spread");
  Parameters parameters(config);
  parameters.initialise(1);
  const auto gate = [&](const char* network, int channel) {
    const Tensor bias = parameters.weight(fmt::format("blocks.2.mdi.{}.2.bias", network));
    return 1 / (1 + std::exp(-bias.data()[channel]));
  };
  for (const int channel : {0, 1, 64, 127})
    EXPECT_NEAR(gate("W_gamma", channel) * gate("W_context", channel), 0.1 + 0.7 * channel / 127,
                1e-6);
  expect_error<UsageError>([&] { config.gates = "wide", check_config(config); },
                           {"gates", "wide", "spread"});
}

TEST(Parameters, InitialisationDependsOnlyOnTheSeed) {
  const Config config = preset("tiny");
  Parameters parameters(config), again(config), other(config);
  again.gradients().data()[0] = again.first_moments().data()[1] = again.second_moments().data()[2] =
      1;
  parameters.initialise(7);
  again.initialise(7);
  other.initialise(8);
  const auto same = [&](const Tensor& a, const Tensor& b) {
    return std::equal(a.data(), a.data() + a.count(), b.data());
  };
  EXPECT_TRUE(same(parameters.weights(), again.weights()));
  for (const Tensor& flat : {again.gradients(), again.first_moments(), again.second_moments()})
    EXPECT_TRUE(std::all_of(flat.data(), flat.data() + flat.count(),
                            [](float value) { return value == 0; }));
  EXPECT_FALSE(
      same(parameters.weight("blocks.3.ffn.0.weight"), other.weight("blocks.3.ffn.0.weight")));
  EXPECT_FALSE(
      same(parameters.weight("blocks.0.W_g.weight"), parameters.weight("blocks.1.W_g.weight")));
}

// ------------------------------------------------------------------------------------------ memory

TEST(MemoryBanks, AreDrawnLikeTheMeanOf16Slots) {
  const Config config = preset("tiny");
  EXPECT_EQ(top_slots(config), 64);
  Parameters parameters(config);
  const auto draw = [&](uint64_t seed, uint64_t number) {
    Model model(config, config.vocab_size, parameters, 1, 1, Model::Mode::kInference, seed);
    model.draw(number);
    std::vector<float> values;
    for (const Drawn& slots : model.drawn()) {
      EXPECT_EQ(slots.tensor.shape_string(), "[64,128]");
      values.insert(values.end(), slots.tensor.data(), slots.tensor.data() + slots.tensor.count());
    }
    return values;
  };
  const std::vector<float> values = draw(42, 3);
  double sum = 0, squares = 0;
  for (const float value : values) sum += value, squares += static_cast<double>(value) * value;
  const double n = static_cast<double>(values.size()), deviation = 0.02 / 4;
  EXPECT_LE(std::abs(sum / n), 5 * deviation / std::sqrt(n));
  EXPECT_NEAR(std::sqrt(squares / n), deviation, 5 * deviation / std::sqrt(2 * n));
  EXPECT_GT(std::set<float>(values.begin(), values.end()).size(), 0.9 * n)
      << "layers or banks share their numbers";

  EXPECT_EQ(draw(42, 3), values);
  EXPECT_NE(draw(42, 4), values);
  EXPECT_NE(draw(43, 3), values);
}

// ------------------------------------------------------------------------------------------- model

constexpr int kVocabulary = 19;

Config small_config() {
  Config config;
  config.vocab_size = kVocabulary;
  config.dim = 20;
  config.layers = 2;
  config.heads = 2;
  config.max_seq = 64;
  config.mem_slots = 48;
  return config;
}

/// Weights, memory and tokens. Biases are not 0, norms are not 1, and the memory is far wider than
/// a real one: no part is hidden by a neutral value, every part affects the loss.
struct Setting {
  explicit Setting(const Config& config, int T, int B, int vocabulary = kVocabulary)
      : config(config),
        vocabulary(vocabulary),
        parameters(config),
        keys(bank()),
        values(bank()),
        T(T),
        B(B) {
    parameters.initialise(1);
    for (const Parameter& parameter : parameters.table()) {
      const float more = parameter.name.find(".memory.") == std::string::npos ? 0.3f : 2;
      for (int64_t i = 0; i < parameter.count; ++i)
        parameters.weights().data()[parameter.offset + i] += random.uniform(-more, more);
    }
    const GuardedIds tokens = random.ids((T + 1) * B, vocabulary);
    for (int i = 0; i < (T + 1) * B; ++i) sequence.push_back(tokens[i]);
  }

  GuardedTensor bank() {
    return random.input({config.layers, top_slots(config), config.dim}, -2, 2);
  }
  Model model(Model::Mode mode) { return model(mode, T, B); }
  Model model(Model::Mode mode, int T, int B, Precision precision = Precision::kFloat32) {
    Model model(config, vocabulary, parameters, T, B, mode, 1, precision);
    for (size_t i = 0; i < model.drawn().size(); ++i) {  // per layer: keys, then values
      const Tensor bank = (i % 2 == 0 ? keys : values).view().at(static_cast<int>(i / 2));
      std::copy_n(bank.data(), bank.count(), model.drawn()[i].tensor.data());
    }
    if (mode == Model::Mode::kGenerating) model.pack();
    return model;
  }
  IntTensor ids() { return IntTensor(sequence.data(), {T, B}); }
  IntTensor targets() { return IntTensor(sequence.data() + B, {T, B}); }

  ScopedThreads one_thread{1};  // for so small a model more threads would only wait for each other
  Random random;
  Config config;
  int vocabulary;
  Parameters parameters;
  GuardedTensor keys, values;
  int T, B;
  std::vector<int32_t> sequence;  // [T + 1][B]
};

std::vector<float> copy(const Tensor& tensor) {
  return std::vector<float>(tensor.data(), tensor.data() + tensor.count());
}

/// Sets a random initial state, so that the first position also has a past.
void set_state(const Model& model, uint32_t seed) {
  Random random(seed);
  for (int64_t i = 0; i < model.state().count(); ++i)
    model.state().data()[i] = random.uniform(-1, 1);
}

/// Returns the derivative of loss() along a direction in a parameter's space, by fourth-order
/// central differences.
template <class Loss>
double difference(const Tensor& weight, const std::vector<float>& direction, Loss loss) {
  constexpr double kStep = 0.02;
  const std::vector<float> before = copy(weight);
  const auto at = [&](double step) {
    for (size_t i = 0; i < before.size(); ++i)
      weight.data()[i] = static_cast<float>(before[i] + step * direction[i]);
    const double result = loss();
    std::copy(before.begin(), before.end(), weight.data());
    return result;
  };
  return (8 * (at(kStep) - at(-kStep)) - (at(2 * kStep) - at(-2 * kStep))) / (12 * kStep);
}

Config with_learned_memory(Config config) {
  config.memory = "learned";
  return config;
}

/// What check_gradients checks, beside the model and its dropout.
struct Checked {
  /// Parameters whose gradients are compared: name contains one of these; all if empty.
  std::vector<std::string> only = {};
  /// Parameters that are set to zero before.
  std::vector<std::string> zero = {};
  /// Parameters without an effect on the loss after that.
  std::vector<std::string> without_gradient = {};
  /// Each parameter's largest gradient must be so many times the tolerance.
  double sensitivity = 30;
};

bool contains_one_of(const std::string& name, const std::vector<std::string>& parts) {
  return std::ranges::any_of(parts,
                             [&](const std::string& part) { return name.find(part) != name.npos; });
}

void check_gradients(const Config& config, float dropout, const Checked& checked = {}) {
  // rounding of the float32 losses over the step; the error of the differences is smaller
  constexpr double kTolerance = 3e-5;
  Setting s(config, /*T=*/7, /*B=*/3);
  for (const Parameter& parameter : s.parameters.table()) {
    const Tensor weight = s.parameters.weight(parameter.name);
    if (contains_one_of(parameter.name, checked.zero)) set_zero(weight);
    // Keeps the arguments of DPG's relu away from its kink: every other unit is always on.
    if (contains_one_of(parameter.name, {"W_gamma_down"}))
      for (int64_t i = 0; i < weight.count(); ++i)
        weight.data()[i] = weight.rank() == 1 ? (i % 2 ? 2.f : -2.f) : 0.3f * weight.data()[i];
  }
  Model model = s.model(Model::Mode::kTraining);
  const auto loss = [&] {
    model.clear_state();
    if (config.chunk_size == 0) set_state(model, 3);
    const LossSum sum =
        model.loss_and_gradients(s.ids(), s.targets(), {.p = dropout, .seed = 5, .step = 9});
    return sum.mean_loss() + sum.mean_auxiliary();
  };
  loss();
  const std::vector<float> gradients = copy(s.parameters.gradients());

  for (const Parameter& parameter : s.parameters.table()) {
    if (!checked.only.empty() && !contains_one_of(parameter.name, checked.only)) continue;
    const float* gradient = gradients.data() + parameter.offset;
    const int count = static_cast<int>(parameter.count);
    const auto check = [&](const std::string& what, const std::vector<float>& direction) {
      double formula = 0;
      for (int i = 0; i < count; ++i) formula += static_cast<double>(gradient[i]) * direction[i];
      EXPECT_NEAR(formula, difference(s.parameters.weight(parameter.name), direction, loss),
                  kTolerance)
          << parameter.name << ", " << what;
    };
    const auto smaller = [](float a, float b) { return std::abs(a) < std::abs(b); };
    const int largest =
        static_cast<int>(std::max_element(gradient, gradient + count, smaller) - gradient);
    if (contains_one_of(parameter.name, checked.without_gradient))
      EXPECT_EQ(gradient[largest], 0) << parameter.name;
    else
      EXPECT_GT(std::abs(gradient[largest]), checked.sensitivity * kTolerance)
          << parameter.name << ": the tolerance hides the gradient";
    for (const int element :
         {largest, s.random.below(count), s.random.below(count), s.random.below(count)}) {
      std::vector<float> direction(count);
      direction[element] = 1;
      check(fmt::format("element {}", element), direction);
    }
    // All elements at once: an error in any of them is detected.
    std::vector<float> direction(count);
    for (float& part : direction)
      part = (s.random.below(2) ? 1.f : -1.f) / std::sqrt(static_cast<float>(count));
    check("a random direction", direction);
  }
}

Config with_mingru(Config config) {
  config.arch = "mingru";
  return without_unread_fields(config);
}

/// small_config() with one switch, or several, set. `carry_state`, `chunk_size`: see Config.
Config with(const std::vector<const char*>& assignments) {
  Config config = small_config();
  for (const char* assignment : assignments) set_field(config, assignment);
  check_config(config);
  return config;
}

/// Every switch of the model, alone and together.
std::vector<Config> all_switches() {
  return {small_config(),
          with({"memory=learned"}),
          with({"hem=false"}),
          with({"dpg=true", "dpg_rank=6"}),
          with({"uboo=true", "lambda_p=0.5"}),
          with({"chunk_size=5"}),
          with({"chunk_size=5", "carry_state=true", "memory=learned"}),
          with({"hem=false", "dpg=true", "dpg_rank=6", "uboo=true", "chunk_size=3"}),
          with({"uboo=true", "chunk_size=3", "carry_state=true"}),
          with_mingru(small_config())};
}

TEST(Model, GradientsMatchTheLossOfMingru) { check_gradients(with_mingru(small_config()), 0.3f); }
TEST(Model, GradientsMatchTheLoss) { check_gradients(small_config(), 0); }
TEST(Model, GradientsMatchTheLossWithDropout) { check_gradients(small_config(), 0.3f); }
TEST(Model, GradientsMatchTheLossWithALearnedMemory) {
  check_gradients(with_learned_memory(small_config()), 0.3f);
}

TEST(Model, GradientsMatchTheLossWithoutHem) { check_gradients(with({"hem=false"}), 0.3f); }
TEST(Model, GradientsMatchTheLossWithDpg) {
  // MDI's decay has a tenth of its effect without DPG
  check_gradients(with({"dpg=true", "dpg_rank=6"}), 0.3f, {.sensitivity = 10});
}

// Beyond the planning MLPs, the loss's derivative is not its gradient: the error MLP's input passes
// none on. Where that MLP's output is constant, it has no such input.
TEST(Model, GradientsMatchTheLossWithUboo) {
  for (const bool dpg : {false, true}) {
    Config config = with({"uboo=true", "lambda_p=2", "dpg_rank=6"});
    config.dpg = dpg;
    check_gradients(config, 0.3f, {.only = {"W_planning"}});
    check_gradients(
        config, 0.3f,
        {.zero = {"W_planning_error.2.weight"}, .without_gradient = {"W_planning_error.0"}});
  }
}

// A later chunk's slot passes no gradient on. It has no effect where W_o is zero.
TEST(Model, GradientsMatchTheLossInChunks) {
  for (const char* carry : {"carry_state=false", "carry_state=true"})
    for (const char* uboo : {"uboo=false", "uboo=true"})
      check_gradients(with({"chunk_size=3", "lambda_p=2", carry, uboo}), 0.3f,
                      {.zero = {"W_o.weight", "W_planning_error.2.weight"},
                       .without_gradient = {"W_q", "W_planning_error.0"}});
}

/// One product by joined matrices and one by the fused matrix are the same.
TEST(Model, WithoutHemEqualsHemWithTheSameWeights) {
  Setting fused(small_config(), 7, 3), s(with({"hem=false"}), 7, 3);
  const int D = s.config.dim;
  for (const Parameter& parameter : fused.parameters.table()) {
    const Tensor from = fused.parameters.weight(parameter.name);
    if (!contains_one_of(parameter.name, {"W_fused"})) {
      std::copy_n(from.data(), from.count(), s.parameters.weight(parameter.name).data());
      continue;
    }
    for (int part = 0; part < 4; ++part) {
      const Tensor rows = from.rows(part * D, (part + 1) * D);
      std::string name = parameter.name;
      name.replace(name.find("fused"), 5, std::string(1, "qkvz"[part]));
      std::copy_n(rows.data(), rows.count(), s.parameters.weight(name).data());
    }
  }
  Model with_hem = fused.model(Model::Mode::kTraining), without = s.model(Model::Mode::kTraining);
  for (size_t i = 0; i < with_hem.drawn().size(); ++i) {
    const Tensor slots = with_hem.drawn()[i].tensor;
    std::copy_n(slots.data(), slots.count(), without.drawn()[i].tensor.data());
  }
  EXPECT_EQ(with_hem.loss_and_gradients(fused.ids(), fused.targets(), {}).loss,
            without.loss_and_gradients(fused.ids(), fused.targets(), {}).loss);
  const Tensor all = fused.parameters.gradient("blocks.0.W_fused.weight");
  EXPECT_EQ(copy(s.parameters.gradient("blocks.0.W_k.weight")), copy(all.rows(D, 2 * D)));
  EXPECT_EQ(copy(s.parameters.gradient("blocks.0.W_z.weight")), copy(all.rows(3 * D, 4 * D)));
}

struct Results {
  std::vector<float> losses, state, gradients;
  double auxiliary;
  bool operator==(const Results&) const = default;
};
Results results_of(Setting& s, Model& model) {
  model.clear_state();
  s.parameters.clear_gradients();
  const LossSum sum =
      model.loss_and_gradients(s.ids(), s.targets(), {.p = 0.1f, .seed = 5, .step = 9});
  return {copy(model.token_loss()), copy(model.state()), copy(s.parameters.gradients()),
          sum.auxiliary};
}

TEST(Model, RecomputingGivesTheSameBitsWithLessMemory) {
  for (Config config : all_switches()) {
    config.layers = 4;
    Setting s(config, 12, 3);
    Model keeping = s.model(Model::Mode::kTraining), again = s.model(Model::Mode::kRecomputing);
    EXPECT_TRUE(results_of(s, keeping) == results_of(s, again)) << describe_layers(config);
    EXPECT_LT(again.bytes(), 0.6 * static_cast<double>(keeping.bytes())) << describe_layers(config);
  }
}

TEST(Model, ChunksNotShorterThanTheWindowChangeNoBit) {
  for (const char* carry : {"carry_state=false", "carry_state=true"})
    for (const char* size : {"chunk_size=7", "chunk_size=1000"}) {
      Setting whole(small_config(), 7, 3), s(with({size, carry}), 7, 3);
      Model model = whole.model(Model::Mode::kTraining), chunked = s.model(Model::Mode::kTraining);
      const Results want = results_of(whole, model), got = results_of(s, chunked);
      EXPECT_TRUE(got.losses == want.losses && got.gradients == want.gradients) << size;
    }
}

/// A later chunk depends on the earlier ones only through the slot, or also through the state.
TEST(Model, ChunksStartFromZeroUnlessTheStateIsCarried) {
  for (const bool carry : {false, true}) {
    Config config = with({"chunk_size=4"});
    config.carry_state = carry;
    Setting s(config, 8, 2);
    for (int layer = 0; layer < config.layers; ++layer)  // no way through the slots
      set_zero(s.parameters.weight(fmt::format("blocks.{}.multi_mem_attention.W_o.weight", layer)));
    Model model = s.model(Model::Mode::kInference);
    const auto second_half = [&] {
      model.clear_state();
      model.loss(s.ids(), s.targets());
      return copy(model.token_loss().rows(4 * s.B, 8 * s.B));
    };
    const std::vector<float> want = second_half();
    s.sequence[0] = (s.sequence[0] + 1) % kVocabulary;
    EXPECT_EQ(second_half() == want, !carry);
  }
}

TEST(Model, SequencesAtDifferentPositionsOfAChunkAreRefused) {
  Setting s(with({"chunk_size=4"}), 3, 2);
  Model model = s.model(Model::Mode::kInference);
  model.loss(s.ids(), s.targets());
  const Tensor second = model.state().at(0).at(1);
  std::fill_n(second.data(), second.count(), 0.f);
  expect_error([&] { model.loss(s.ids(), s.targets()); }, {"same position of a chunk"});
}

/// a = gamma + 0.1 (1 + gm - g), with both decays at 1 and the gate closed, or open.
TEST(Model, StateRangeHasTheLargestFactorAndState) {
  for (const float gate : {-100.f, 100.f}) {
    Setting s(small_config(), 1, 2);
    for (const Parameter& parameter : s.parameters.table()) {
      const Tensor weight = s.parameters.weight(parameter.name);
      if (parameter.name.ends_with("mdi.W_g.weight")) set_zero(weight);
      if (parameter.name.ends_with("mdi.W_g.bias"))
        std::fill_n(weight.data(), weight.count(), gate);
      if (contains_one_of(parameter.name, {"W_gamma.2.bias", "W_context.2.bias"}))
        std::fill_n(weight.data(), weight.count(), 100.f);
    }
    Model model = s.model(Model::Mode::kTraining);
    const StateRange range = model.loss_and_gradients(s.ids(), s.targets(), {}).range;
    EXPECT_NEAR(range.factor, gate < 0 ? 1.2 : 1.1, 1e-5);
    const std::vector<float> state = copy(model.state());
    EXPECT_EQ(range.state,
              std::abs(*std::ranges::max_element(state, {}, [](float h) { return std::abs(h); })));
  }
}

/// Everything but the memory's gradients equals the result with the same slots drawn.
TEST(Model, LearnedMemoryIsReadLikeADrawnOne) {
  Setting s(with_learned_memory(small_config()), 5, 3), drawn(small_config(), 5, 3);
  for (const Parameter& parameter : drawn.parameters.table()) {
    const Tensor weight = s.parameters.weight(parameter.name);
    std::copy_n(weight.data(), weight.count(), drawn.parameters.weight(parameter.name).data());
  }
  Model model = s.model(Model::Mode::kTraining), other = drawn.model(Model::Mode::kTraining);
  for (const Drawn& slots : other.drawn()) {
    const Tensor weight = s.parameters.weight(slots.name);
    std::copy_n(weight.data(), weight.count(), slots.tensor.data());
  }
  EXPECT_EQ(other.drawn().size(), 4u);
  EXPECT_EQ(model.loss_and_gradients(s.ids(), s.targets(), {}).loss,
            other.loss_and_gradients(s.ids(), s.targets(), {}).loss);
  for (const Parameter& parameter : drawn.parameters.table())
    EXPECT_EQ(copy(s.parameters.gradient(parameter.name)),
              copy(drawn.parameters.gradient(parameter.name)))
        << parameter.name;
}

/// All gradients are accumulated: over several calls, and over the model's parts within a call.
void check_sum(const Config& config) {
  Setting s(config, 5, 3);
  Model model = s.model(Model::Mode::kTraining);
  const auto add = [&](float share) {
    model.clear_state();
    model.loss_and_gradients(s.ids(), s.targets(), {}, share);
    return copy(s.parameters.gradients());
  };
  const std::vector<float> once = add(1);
  const std::vector<float> more = add(0.5f);
  const float largest = *std::ranges::max_element(once);
  for (size_t i = 0; i < once.size(); ++i) ASSERT_NEAR(more[i], 1.5 * once[i], 1e-6 * largest) << i;
  s.parameters.clear_gradients();
  EXPECT_EQ(add(1), once);
}

TEST(Model, GradientsAddUp) {
  for (const Config& config : all_switches()) check_sum(config);
}

/// What the backward pass leaves behind is complete: it does not change any more.
void check_backward_order(const Config& config) {
  Setting s(config, 5, 3);
  const auto order = backward_order(s.parameters.table());
  const auto part = [&](int64_t begin, int64_t end) {
    return s.parameters.gradients().rows(static_cast<int>(begin), static_cast<int>(end));
  };
  std::vector<int> covered(static_cast<size_t>(s.parameters.gradients().count()));
  for (const auto& [begin, end] : order)
    for (int64_t i = begin; i < end; ++i) ++covered[static_cast<size_t>(i)];
  EXPECT_EQ(std::ranges::count(covered, 1), std::ssize(covered));

  std::vector<std::vector<float>> when_left;
  s.model(Model::Mode::kTraining).loss_and_gradients(s.ids(), s.targets(), {}, 1, [&](int layer) {
    const auto [begin, end] = order[when_left.size()];
    when_left.push_back(copy(part(begin, end)));
    EXPECT_EQ(layer, config.layers - std::ssize(when_left));
    const Tensor norm = s.parameters.gradient(block_prefix(layer) + "norm1.weight");
    const auto place = norm.data() - s.parameters.gradients().data();
    EXPECT_LE(begin, place);
    EXPECT_LE(place + norm.count(), end);
  });
  ASSERT_EQ(std::ssize(when_left), config.layers);
  for (size_t i = 0; i < when_left.size(); ++i) {
    const auto [begin, end] = order[i];
    EXPECT_EQ(copy(part(begin, end)), when_left[i]) << i;
  }
}

TEST(Model, BackwardOrderIsThatOfTheBackwardPass) {
  for (const Config& config : all_switches()) check_backward_order(config);
}

TEST(Model, UnusedProjectionsHaveNoGradient) {
  Setting s(small_config(), 5, 3);
  s.model(Model::Mode::kTraining).loss_and_gradients(s.ids(), s.targets(), {});
  const int D = s.config.dim;
  for (const char* block : {"blocks.0.", "blocks.1."}) {
    const Tensor gradient = s.parameters.gradient(std::string(block) + "W_fused.weight");
    EXPECT_EQ(copy(gradient.rows(4 * D, 6 * D)), std::vector<float>(2 * D * D));
    EXPECT_NE(copy(gradient.rows(3 * D, 4 * D)), std::vector<float>(D * D));
  }
}

// With few sequences the block computes other gradients beside the recurrence; with more it does
// not.
TEST(Model, GradientsDoNotDependOnTheThreads) {
  for (const int B : {1, 2, 3, 5}) {
    Setting s(small_config(), 33, B);
    Model model = s.model(Model::Mode::kTraining);
    const auto gradients = [&](int threads) {
      const ScopedThreads scoped(threads);
      const Tensor flat = s.parameters.gradients();
      std::fill_n(flat.data(), flat.count(), 0.f);
      model.clear_state();
      model.loss_and_gradients(s.ids(), s.targets(), {.p = 0.1f, .seed = 1, .step = 1});
      return copy(flat);
    };
    const std::vector<float> want = gradients(1);
    for (const int threads : {2, 3, 5})
      for (int again = 0; again < 3; ++again)
        EXPECT_TRUE(gradients(threads) == want) << B << " sequences, " << threads << " threads";
  }
}

std::vector<float> logits(Model& model, const IntTensor& ids, int vocabulary = kVocabulary) {
  std::vector<float> values(ids.count() * vocabulary);
  model.logits(ids, Tensor(values.data(), {model.T(), model.B(), vocabulary}));
  return values;
}

void expect_near(const std::vector<float>& got, const std::vector<float>& want,
                 double tolerance = 1e-5) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(got[i], want[i], tolerance) << "element " << i;
}

TEST(Model, LossIsTheCrossEntropyOfTheLogits) {
  Setting s(small_config(), 7, 3);
  Model model = s.model(Model::Mode::kInference);
  const std::vector<float> all = logits(model, s.ids());
  model.clear_state();
  const LossSum sum = model.loss(s.ids(), s.targets());
  double loss = 0, correct = 0;
  for (int n = 0; n < s.T * s.B; ++n) {
    const float* row = all.data() + n * kVocabulary;
    double exponentials = 0;
    for (int v = 0; v < kVocabulary; ++v) exponentials += std::exp(static_cast<double>(row[v]));
    const float target = row[s.targets().data()[n]];
    EXPECT_NEAR(model.token_loss().data()[n], std::log(exponentials) - target, 1e-5)
        << "position " << n;
    loss += std::log(exponentials) - target;
    correct += std::all_of(row, row + kVocabulary, [&](float logit) { return logit <= target; });
  }
  EXPECT_EQ(sum.tokens, s.T * s.B);
  EXPECT_NEAR(sum.loss, loss, 1e-4);
  EXPECT_EQ(sum.correct, correct);
}

/// Compares one run with windows of four, and with single tokens as in generation.
void check_windows(const Config& config) {
  Setting s(config, 12, 3);
  Model whole = s.model(Model::Mode::kInference);
  const std::vector<float> want = logits(whole, s.ids());
  for (const auto& [T, mode] : {std::pair(4, Model::Mode::kInference),
                                {1, Model::Mode::kInference},
                                {1, Model::Mode::kGenerating}}) {
    SCOPED_TRACE(fmt::format("{} positions, mode {}", T, static_cast<int>(mode)));
    Model part = s.model(mode, T, s.B);
    std::vector<float> got;
    for (int begin = 0; begin < s.T; begin += T) {
      const std::vector<float> window = logits(part, s.ids().rows(begin, begin + T));
      got.insert(got.end(), window.begin(), window.end());
    }
    expect_near(got, want);
    expect_near(copy(part.state()), copy(whole.state()));

    const std::vector<float> carried = logits(part, s.ids().rows(0, T));
    part.clear_state();
    const std::vector<float> afresh = logits(part, s.ids().rows(0, T));
    EXPECT_NE(carried, afresh);
    expect_near(afresh, std::vector<float>(want.begin(),
                                           want.begin() + static_cast<ptrdiff_t>(afresh.size())));
  }
}

TEST(Model, WindowsWithTheStateCarriedEqualOneRun) {
  for (const Config& config : all_switches()) check_windows(config);
}

TEST(Model, SequencesOfABatchAreIndependent) {
  Setting s(small_config(), 7, 3);
  Model together = s.model(Model::Mode::kInference),
        alone = s.model(Model::Mode::kInference, s.T, 1);
  const std::vector<float> all = logits(together, s.ids());
  for (int b = 0; b < s.B; ++b) {
    std::vector<int32_t> ids;
    std::vector<float> want;
    for (int t = 0; t < s.T; ++t) {
      const int n = t * s.B + b;
      ids.push_back(s.ids().data()[n]);
      want.insert(want.end(), all.begin() + n * kVocabulary, all.begin() + (n + 1) * kVocabulary);
    }
    alone.clear_state();
    expect_near(logits(alone, IntTensor(ids.data(), {s.T, 1})), want);
  }
}

/// Whatever the thread's precision is, and whatever another model has.
TEST(Model, HasAPrecisionOfItsOwn) {
  MMREC_NEEDS_BF16();
  for (const Model::Mode mode : {Model::Mode::kTraining, Model::Mode::kRecomputing,
                                 Model::Mode::kInference, Model::Mode::kGenerating}) {
    SCOPED_TRACE(static_cast<int>(mode));
    Setting s(small_config(), 4, 3);
    Model rounded = s.model(mode, s.T, s.B, Precision::kBf16), plain = s.model(mode, s.T, s.B);
    const auto results = [&](Model& model) {
      model.clear_state();
      std::vector<float> all = logits(model, s.ids());
      if (mode == Model::Mode::kInference || mode == Model::Mode::kGenerating) return all;
      model.clear_state();
      s.parameters.clear_gradients();
      model.loss_and_gradients(s.ids(), s.targets(), {});
      const std::vector<float> gradients = copy(s.parameters.gradients());
      all.insert(all.end(), gradients.begin(), gradients.end());
      return all;
    };
    const std::vector<float> want = results(plain), in_bf16 = results(rounded);
    EXPECT_NE(in_bf16, want);
    EXPECT_EQ(precision(), Precision::kFloat32);
    EXPECT_EQ(results(plain), want);
    const ScopedPrecision of_thread(Precision::kBf16);
    EXPECT_EQ(results(plain), want);
    EXPECT_EQ(results(rounded), in_bf16);
    EXPECT_EQ(precision(), Precision::kBf16);
  }
}

TEST(Model, GeneratingFollowsChangedWeightsAfterPack) {
  for (const Config& config : all_switches()) {
    Setting s(config, 1, 2);
    Model model = s.model(Model::Mode::kGenerating);
    for (float& weight : std::span(s.parameters.weights().data(),
                                   static_cast<size_t>(s.parameters.weights().count())))
      weight *= 1.25f;
    model.pack();
    const std::vector<float> got = logits(model, s.ids());
    Model fresh = s.model(Model::Mode::kGenerating);
    EXPECT_EQ(got, logits(fresh, s.ids()));
  }
  Setting s(small_config(), 1, 2);
  expect_error([&] { s.model(Model::Mode::kInference).pack(); }, {"generating"});
}

/// The values that int8 holds of the weights are those that a model in float computes with.
TEST(Model, GeneratingInInt8AgreesWithTheRoundedWeightsInFloat) {
  for (const Config& config : all_switches()) {
    Setting s(config, 1, 3);
    const std::vector<float> exact = copy(s.parameters.weights());
    round_weights(config, s.parameters, Precision::kFloat32);
    round_weights(config, s.parameters, Precision::kBf16);
    EXPECT_EQ(copy(s.parameters.weights()), exact);
    round_weights(config, s.parameters, Precision::kInt8);
    const std::vector<float> rounded = copy(s.parameters.weights());
    EXPECT_NE(rounded, exact);
    round_weights(config, s.parameters, Precision::kInt8);
    EXPECT_EQ(copy(s.parameters.weights()), rounded);
    Model narrow = s.model(Model::Mode::kGenerating, 1, 3, Precision::kInt8),
          windows = s.model(Model::Mode::kInference, 1, 3, Precision::kInt8),
          in_float = s.model(Model::Mode::kInference);
    EXPECT_LT(narrow.bytes(), s.model(Model::Mode::kGenerating).bytes());
    EXPECT_EQ(narrow.bytes(),
              model_bytes(config, 1, 3, Model::Mode::kGenerating, Precision::kInt8));
    for (Model* model : {&narrow, &windows, &in_float}) model->read(s.ids());  // there is a past
    const std::vector<float> want = logits(in_float, s.ids());
    expect_near(logits(narrow, s.ids()), want);
    EXPECT_EQ(logits(windows, s.ids()), want);
    expect_near(copy(narrow.state()), copy(in_float.state()));
  }
  Setting s(small_config(), 1, 3);
  expect_error([&] { s.model(Model::Mode::kTraining, 1, 3, Precision::kInt8); },
               {"training mode", "int8"});
}

TEST(Model, GeneratingInInt8LeavesTheSameBitsWithAnyThreadsAndBatch) {
  for (const Config& config : all_switches()) {
    Setting s(config, 1, 5);
    round_weights(config, s.parameters, Precision::kInt8);
    const auto run = [&](int threads, int first, int count) {
      const ScopedThreads scoped(threads);
      Model model = s.model(Model::Mode::kGenerating, 1, count, Precision::kInt8);
      std::vector<float> all;
      for (int t = 0; t < 4; ++t) {  // the state is carried
        std::vector<int32_t> ids(s.sequence.begin() + first, s.sequence.begin() + first + count);
        const std::vector<float> now = logits(model, IntTensor(ids.data(), {1, count}));
        all.insert(all.end(), now.begin(), now.end());
      }
      return all;
    };
    const std::vector<float> want = run(1, 0, 5);
    for (const int threads : {2, 3}) EXPECT_EQ(run(threads, 0, 5), want);
    for (int b = 0; b < 5; ++b) {
      const std::vector<float> alone = run(1, b, 1);
      for (int t = 0; t < 4; ++t)
        EXPECT_TRUE(std::equal(alone.begin() + t * kVocabulary,
                               alone.begin() + (t + 1) * kVocabulary,
                               want.begin() + (t * 5 + b) * kVocabulary))
            << "sequence " << b << ", token " << t;
    }
  }
}

TEST(Model, TrainingAndInferenceAgree) {
  Setting s(small_config(), 7, 3);
  Model training = s.model(Model::Mode::kTraining), inference = s.model(Model::Mode::kInference);
  EXPECT_EQ(logits(training, s.ids()), logits(inference, s.ids()));
  training.clear_state();
  inference.clear_state();
  const LossSum with_gradients = training.loss_and_gradients(s.ids(), s.targets(), {}),
                without = inference.loss(s.ids(), s.targets());
  EXPECT_NEAR(with_gradients.loss, without.loss, 1e-4);
  EXPECT_EQ(with_gradients.correct, without.correct);
}

TEST(Model, WithoutTrainingTheWeightsAreEnough) {
  for (const Config& config : all_switches()) {
    Setting s(config, 7, 3);
    Parameters weights(config, Parameters::Arrays::kWeights);
    copy_values(s.parameters.weights(), weights.weights());
    const auto make = [&](Parameters& parameters, Model::Mode mode) {
      return Model(config, kVocabulary, parameters, s.T, s.B, mode, 1);
    };
    Model all = make(s.parameters, Model::Mode::kInference),
          used = make(weights, Model::Mode::kInference);
    EXPECT_EQ(logits(used, s.ids()), logits(all, s.ids()));
    expect_error([&] { make(weights, Model::Mode::kTraining); }, {"training mode", "gradients"});
  }
}

TEST(Model, DropoutMasksDependOnlyOnSeedAndStep) {
  Setting s(small_config(), 7, 3);
  Model model = s.model(Model::Mode::kTraining);
  const auto gradients = [&](const StepDropout& dropout) {
    model.clear_state();
    s.parameters.clear_gradients();
    model.loss_and_gradients(s.ids(), s.targets(), dropout);
    return copy(s.parameters.gradients());
  };
  const std::vector<float> first = gradients({.p = 0.3f, .seed = 5, .step = 9});
  EXPECT_NE(gradients({.p = 0.3f, .seed = 5, .step = 10}), first);
  EXPECT_NE(gradients({.p = 0.3f, .seed = 6, .step = 9}), first);
  EXPECT_NE(gradients({}), first);
  EXPECT_EQ(gradients({.p = 0.3f, .seed = 5, .step = 9}), first);
}

TEST(Model, PaddingRowsHaveNoProbabilityAndNoGradient) {
  Config config = small_config();
  config.vocab_size = 32;
  Setting s(config, 7, 3);
  Model model = s.model(Model::Mode::kTraining);
  const Tensor padding = s.parameters.weight("embedding.weight").rows(kVocabulary, 32);
  const auto run = [&](float padding_weight) {
    std::fill_n(padding.data(), padding.count(), padding_weight);
    model.clear_state();
    std::vector<float> results = logits(model, s.ids());
    model.clear_state();
    s.parameters.clear_gradients();
    results.push_back(static_cast<float>(model.loss_and_gradients(s.ids(), s.targets(), {}).loss));
    const std::vector<float> gradients = copy(s.parameters.gradients());
    results.insert(results.end(), gradients.begin(), gradients.end());
    return results;
  };
  EXPECT_EQ(run(0), run(1e9f));
  const Tensor gradient = s.parameters.gradient("embedding.weight");
  EXPECT_EQ(copy(gradient.rows(kVocabulary, 32)), std::vector<float>(padding.count()));
  EXPECT_NE(copy(gradient.rows(0, kVocabulary)), std::vector<float>(kVocabulary * config.dim));
}

void check_threads(Config config) {
  config.vocab_size = 300;
  config.dim = 64;
  Setting s(config, 12, 3, 300);
  Model model = s.model(Model::Mode::kTraining);
  current_variant = {"model", "training step", "default"};
  const auto bits = [](const std::vector<float>& values) {
    std::vector<uint32_t> bits;
    for (const float value : values) bits.push_back(std::bit_cast<uint32_t>(value));
    return bits;
  };
  expect_same_bits_for_any_threads([&]() -> Bits {
    model.clear_state();
    const std::vector<float> all = logits(model, s.ids(), 300);
    model.clear_state();
    s.parameters.clear_gradients();
    model.loss_and_gradients(s.ids(), s.targets(), {.p = 0.1f, .seed = 5, .step = 9});
    return {bits(all), bits(copy(model.token_loss())), bits(copy(model.state())),
            bits(copy(s.parameters.gradients()))};
  });
}

TEST(Model, TheNumberOfThreadsDoesNotChangeABit) {
  for (const Config& config : all_switches()) check_threads(config);
}

TEST(Model, SizeIsKnownWithoutMakingAModel) {
  Setting s(small_config(), 7, 3);
  for (const Model::Mode mode : {Model::Mode::kTraining, Model::Mode::kRecomputing,
                                 Model::Mode::kInference, Model::Mode::kGenerating})
    EXPECT_EQ(model_bytes(s.config, s.T, s.B, mode), s.model(mode).bytes());
  EXPECT_LT(model_bytes(s.config, s.T, s.B, Model::Mode::kTraining, Precision::kBf16),
            model_bytes(s.config, s.T, s.B, Model::Mode::kTraining));
  Config wide = s.config;
  wide.dim = 24576;  // a matrix of it has more elements than a tensor can have
  EXPECT_GT(model_bytes(wide, 1, 1, Model::Mode::kGenerating), 0u);
  const Config large = preset("7b");
  const double activations =
      static_cast<double>(model_bytes(large, 256, 2, Model::Mode::kTraining));
  EXPECT_GT(activations, 4. * 512 * large.dim * large.layers * 20);
  expect_error<UsageError>([&] { model_bytes(large, 32768, 100, Model::Mode::kTraining); },
                           {"100 sequences of 32768"});
  expect_error<UsageError>([&] { model_bytes(large, INT32_MAX, 1, Model::Mode::kTraining); },
                           {"2147483647"});
}

TEST(Model, IdsOutOfRangeThrow) {
  Setting s(small_config(), 5, 3);
  Model model = s.model(Model::Mode::kTraining);
  std::vector<float> room(s.T * s.B * kVocabulary);
  for (const int32_t bad : {-1, kVocabulary, std::numeric_limits<int32_t>::max(),
                            std::numeric_limits<int32_t>::min()}) {
    std::vector<int32_t> ids = s.sequence;
    ids[7] = bad;
    const IntTensor wrong(ids.data(), {s.T, s.B});
    const std::string message = fmt::format("id {} at position 7", bad);
    expect_error([&] { model.logits(wrong, Tensor(room.data(), {s.T, s.B, kVocabulary})); },
                 {message});
    expect_error([&] { model.loss(wrong, s.targets()); }, {message});
    expect_error([&] { model.loss(s.ids(), wrong); }, {message});
    expect_error([&] { model.loss_and_gradients(wrong, s.targets(), {}); }, {message});
    expect_error([&] { model.loss_and_gradients(s.ids(), wrong, {}); }, {message});
  }
}

TEST(Model, WrongShapesThrow) {
  Setting s(small_config(), 5, 3);
  Model model = s.model(Model::Mode::kTraining);
  const IntTensor transposed(s.sequence.data(), {s.B, s.T}), flat(s.sequence.data(), {s.T * s.B});
  std::vector<float> room(2 * s.T * s.B * kVocabulary);
  const Tensor good(room.data(), {s.T, s.B, kVocabulary});
  for (const IntTensor& wrong : {transposed, flat}) {
    expect_error([&] { model.logits(wrong, good); }, {"ids", "[5,3]", wrong.shape_string()});
    expect_error([&] { model.loss(wrong, s.targets()); }, {"ids", "[5,3]", wrong.shape_string()});
    expect_error([&] { model.loss(s.ids(), wrong); }, {"targets", "[5,3]", wrong.shape_string()});
    expect_error([&] { model.loss_and_gradients(s.ids(), wrong, {}); },
                 {"targets", "[5,3]", wrong.shape_string()});
  }
  expect_error([&] { model.logits(s.ids(), Tensor(room.data(), {s.T, s.B, kVocabulary + 1})); },
               {"logits", "[5,3,19]", "[5,3,20]"});
}

TEST(Model, RefusesImpossibleArguments) {
  Setting s(small_config(), 5, 3);
  const auto make = [&](int vocabulary, int T, int B) {
    Model(s.config, vocabulary, s.parameters, T, B, Model::Mode::kInference, 1);
  };
  expect_error<UsageError>([&] { make(kVocabulary, 0, 3); },
                           {"at least one position", "not 0 and 3"});
  expect_error<UsageError>([&] { make(kVocabulary, 5, 0); },
                           {"at least one position", "not 5 and 0"});
  expect_error<UsageError>([&] { make(20, 5, 3); }, {"vocabulary of 20", "vocab_size 19"});
  expect_error<UsageError>([&] { make(0, 5, 3); }, {"vocabulary of 0"});
  expect_error(
      [&] { s.model(Model::Mode::kInference).loss_and_gradients(s.ids(), s.targets(), {}); },
      {"training mode"});
}

// ----------------------------------------------------------------------------------- configuration

TEST(Configuration, PresetsHaveTheDocumentedSizes) {
  EXPECT_EQ(preset_names(),
            (std::vector<std::string>{"tiny", "mini", "small", "base", "medium", "large", "7b"}));
  const auto expect_sizes = [](const char* name, int vocab_size, int dim, int layers, int heads,
                               int max_seq) {
    Config want;
    want.vocab_size = vocab_size;
    want.dim = dim;
    want.layers = layers;
    want.heads = heads;
    want.max_seq = max_seq;
    want.mem_slots = 1024;
    EXPECT_EQ(preset(name), want) << name;
    EXPECT_NO_THROW(check_config(preset(name))) << name;
  };
  expect_sizes("tiny", 5000, 128, 4, 4, 1024);
  expect_sizes("mini", 10000, 256, 6, 4, 2048);
  expect_sizes("small", 20000, 512, 8, 8, 4096);
  expect_sizes("base", 32000, 1024, 12, 8, 8192);
  EXPECT_EQ(Config{}, preset("tiny"));
  for (const char* name : {"medium", "large", "7b"}) EXPECT_NO_THROW(check_config(preset(name)));
  expect_error<UsageError>([] { preset("huge"); }, {"'huge'", "tiny", "base"});
}

TEST(Configuration, JsonRoundTrip) {
  Config config = small_config();
  config.lambda_p = 0.25f;
  config.dpg_rank = 7;
  EXPECT_EQ(config_from_json(to_json(config), Config{}, "test"), config);
  Config want = config;
  want.layers = 5;
  EXPECT_EQ(config_from_json({{"layers", 5}}, config, "test"), want)
      << "absent fields keep their value";
  nlohmann::json earlier = to_json(config);
  earlier.erase("arch");
  EXPECT_EQ(config_from_json(earlier, Config{}, "test").arch, "mmrec")
      << "as in files from before there was another";
}

TEST(Configuration, SetChangesOneField) {
  Config config, want;
  for (const char* assignment :
       {"dim=64", "hem=true", "lambda_p=0.5", "memory=random", "lambda_p=2"})
    set_field(config, assignment);
  want.dim = 64;
  want.lambda_p = 2;
  EXPECT_EQ(config, want);
  set_field(config, "layers=010");
  EXPECT_EQ(config.layers, 10);
}

TEST(Configuration, WrongAssignmentsNameTheField) {
  const auto expect_refused = [](const char* assignment,
                                 std::initializer_list<std::string_view> mentions) {
    SCOPED_TRACE(assignment);
    Config config;
    expect_error<UsageError>([&] { set_field(config, assignment); }, mentions);
    EXPECT_EQ(config, Config{});
  };
  expect_refused("dim", {"dim", "field=value"});
  expect_refused("dimension=64", {"unknown field 'dimension'", "dim, layers"});
  expect_refused("=64", {"unknown field ''"});
  expect_refused("dim=", {"'dim'", "a whole number"});
  expect_refused("dim=wide", {"'dim'", "a whole number", "wide"});
  expect_refused("dim=64.5", {"'dim'", "a whole number", "64.5"});
  expect_refused("dim=true", {"'dim'", "a whole number"});
  expect_refused("dim=-64", {"'dim'", "-64"});
  expect_refused("dim=4294967360", {"'dim'", "from 0 to 2147483647", "4294967360"});  // 2^32 + 64
  for (const char* text : {"0x40", "+64", "64 ", "6e1", "[64]", "null"})
    expect_refused(fmt::format("dim={}", text).c_str(),
                   {"'dim'", "a whole number from 0 to 2147483647"});
  expect_refused("dim=18446744073709551680", {"'dim'", "from 0 to 2147483647"});  // 2^64 + 64
  for (const char* text : {"nan", "inf", "1e39", "0x1"})
    expect_refused(fmt::format("lambda_p={}", text).c_str(), {"'lambda_p'", "a number"});
  expect_refused("hem=1", {"'hem'", "true or false"});
  expect_refused("lambda_p=much", {"'lambda_p'", "a number"});
  expect_refused("memory=7", {"'memory'", "a string"});
}

TEST(Configuration, FilesWithErrorsNameTheFileAndTheField) {
  const auto expect_refused = [](const nlohmann::json& json, std::string_view field) {
    SCOPED_TRACE(json.dump());
    expect_error<UsageError>([&] { config_from_json(json, Config{}, "my.json"); },
                             {"my.json", field});
  };
  expect_refused({{"dims", 64}}, "unknown field 'dims'");
  expect_refused({{"dim", "64"}}, "'dim'");
  expect_refused({{"hem", nullptr}}, "'hem'");
  expect_refused({{"memory", {1, 2}}}, "'memory'");
  expect_refused(nlohmann::json::array({1}), "JSON object");
}

TEST(Configuration, ImpossibleValuesNameTheField) {
  const auto expect_refused = [](const char* field, const nlohmann::json& value) {
    SCOPED_TRACE(fmt::format("{} = {}", field, value.dump()));
    expect_error<UsageError>([&] { config_from_json({{field, value}}, Config{}, "a file"); },
                             {field});
  };
  expect_refused("vocab_size", 1);
  for (const int dim : {0, 2, 130, 1'000'000'000}) expect_refused("dim", dim);
  for (const int layers : {0, 2'000'000'000}) expect_refused("layers", layers);
  for (const int heads : {0, 3, 256}) expect_refused("heads", heads);
  expect_refused("max_seq", 0);
  for (const int slots : {0, 8, 100, 2'000'000'000}) expect_refused("mem_slots", slots);
  expect_refused("arch", "lstm");
  expect_refused("dpg_rank", 0);
  expect_refused("lambda_p", -0.5);
  expect_refused("memory", "no such memory");
}

/// Fields with a value that is possible and not their default.
const std::map<std::string, nlohmann::json> kOtherValues = {
    {"vocab_size", 100},   {"dim", 64},           {"layers", 3},      {"heads", 2},
    {"max_seq", 64},       {"hem", false},        {"mem_slots", 64},  {"dpg", true},
    {"dpg_rank", 8},       {"uboo", true},        {"lambda_p", 0.5f}, {"chunk_size", 8},
    {"carry_state", true}, {"memory", "learned"}, {"gates", "spread"}};

TEST(Configuration, RefusesAFieldThatTheArchitectureDoesNotRead) {
  const std::set<std::string> of_every_architecture = {"vocab_size", "dim", "layers", "max_seq"};
  ASSERT_EQ(kOtherValues.size() + 1, to_json(Config{}).size()) << "all but arch";
  for (const auto& [field, value] : kOtherValues) {
    SCOPED_TRACE(field);
    EXPECT_NO_THROW(config_from_json({{field, value}}, Config{}, "a file"));
    const nlohmann::json of_mingru = {{"arch", "mingru"}, {field, value}};
    if (of_every_architecture.contains(field))
      EXPECT_NO_THROW(config_from_json(of_mingru, Config{}, "a file"));
    else
      expect_error<UsageError>([&] { config_from_json(of_mingru, Config{}, "a file"); },
                               {"configuration: " + field + " is ", "arch mingru does not read it",
                                "vocab_size, dim, layers, max_seq. Leave it out"});
  }
  Config config = preset("tiny");
  config.arch = "mingru";
  EXPECT_NO_THROW(check_config(config)) << "all defaults";
  config.heads = 8;
  expect_error<UsageError>([&] { check_config(config); }, {"heads is 8", "its default, 4"});
  config.arch = "gru";
  expect_error<UsageError>([&] { check_config(config); },
                           {"arch must be one of mmrec, mingru, not gru"});
}

TEST(Configuration, APresetLeavesOutWhatTheArchitectureDoesNotRead) {
  for (const std::string& name : preset_names()) {
    SCOPED_TRACE(name);
    const Config whole = preset(name), config = preset(name, base_for({"arch=mingru"}, {}));
    const Config want{.arch = "mingru",
                      .vocab_size = whole.vocab_size,
                      .dim = whole.dim,
                      .layers = whole.layers,
                      .max_seq = whole.max_seq};
    EXPECT_EQ(config, want);
    EXPECT_NO_THROW(check_config(config));
    EXPECT_EQ(preset(name, base_for({"arch=mmrec"}, config)), whole);
  }
}

TEST(Configuration, AnotherArchitectureLeavesBehindWhatItDoesNotRead) {
  Config config = preset("medium");
  config.mem_slots = 64;
  const Config base = base_for({"dim=64", "arch=mingru", "heads=8"}, config);
  EXPECT_EQ(base, preset("medium", base_for({"arch=mingru"}, {})));
  EXPECT_EQ(base_for({"dim=64", "heads=8"}, config), config) << "the assignments are not made";
  // a file's own fields are given, those before it are not
  EXPECT_EQ(config_from_json({{"arch", "mingru"}}, config, "a file"), base);
  expect_error<UsageError>(
      [&] { config_from_json({{"arch", "mingru"}, {"heads", 16}}, config, "a file"); },
      {"heads is 16"});
  // unless a program of an earlier version wrote it
  nlohmann::json record = to_json(config);
  EXPECT_EQ(config_from_record(record, "config.json"), config);
  record["arch"] = "mingru";
  EXPECT_EQ(config_from_record(record, "config.json"), base);
  expect_error<UsageError>([&] { config_from_record({{"dims", 1}}, "config.json"); },
                           {"config.json", "dims"});
}

}  // namespace
}  // namespace mmrec
