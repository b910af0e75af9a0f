#include "model/growth.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "model/architecture.h"
#include "model/config_file.h"
#include "model/model.h"
#include "model/optimizer.h"
#include "runtime/rng.h"
#include "support/error.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

using Fields = std::map<std::string, nlohmann::json>;

Config config_with(const Fields& fields) {
  const nlohmann::json small = {{"vocab_size", 32}, {"dim", 16},       {"layers", 2},
                                {"heads", 2},       {"mem_slots", 64}, {"memory", "learned"}};
  return config_from_json(fields, config_from_json(small, Config{}, "test"), "test");
}

/// A model whose parts all matter: the drawn weights, and norms and memory with a spread.
struct Grown {
  Grown(const Config& config, uint64_t seed) : config(config), parameters(config) {
    parameters.initialise(seed);
  }
  void spread(uint64_t seed) {
    const Philox random(seed, 0);
    uint64_t counter = 0;
    for (const Parameter& parameter : parameters.table()) {
      const Tensor weight = parameters.weight(parameter.name);
      for (int64_t i = 0; i < parameter.count; ++i)
        weight.data()[i] += static_cast<float>(0.4 * random.uniform(counter++) - 0.2);
    }
  }

  static constexpr int kT = 12, kB = 3;
  static IntTensor ids(std::vector<int32_t>& room) {
    room.resize(kT * kB);
    for (int i = 0; i < kT * kB; ++i) room[static_cast<size_t>(i)] = (i * 7 + 3) % 32;
    return IntTensor(room.data(), {kT, kB});
  }

  /// Logits of the first `vocabulary` tokens, [T * B][vocabulary]. seed: of a random memory.
  std::vector<float> logits(uint64_t seed = 1, int vocabulary = 32) {
    Model model(config, config.vocab_size, parameters, kT, kB, Model::Mode::kInference, seed);
    model.clear_state();
    std::vector<int32_t> room;
    std::vector<float> all(static_cast<size_t>(kT) * kB * config.vocab_size), result;
    model.logits(ids(room), Tensor(all.data(), {kT, kB, config.vocab_size}));
    for (int row = 0; row < kT * kB; ++row)
      result.insert(result.end(), all.begin() + row * config.vocab_size,
                    all.begin() + row * config.vocab_size + vocabulary);
    return result;
  }

  /// Takes training steps; leaves the last one's gradients.
  void train(int64_t steps) {
    Model model(config, config.vocab_size, parameters, kT, kB, Model::Mode::kTraining, 1);
    std::vector<int32_t> room, target_room;
    const IntTensor input = ids(room), targets = ids(target_room);
    std::rotate(target_room.begin(), target_room.begin() + 5, target_room.end());
    for (int64_t step = 1; step <= steps; ++step) {
      parameters.clear_gradients();
      model.clear_state();
      model.loss_and_gradients(input, targets, {});
      if (step < steps) optimizer_step(parameters, {}, 1e-3, step);
    }
  }

  Config config;
  Parameters parameters;
};

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i)
    largest = std::max(largest, std::abs(static_cast<double>(a[i]) - b[i]));
  return largest;
}

Growth grow(const Grown& from, Grown& to, GrowthRule rule) {
  return grow(from.config, from.parameters, to.config, to.parameters, rule);
}

// ------------------------------------------------------------------------------------- the overlap

/// Returns what the documented rule makes of a tensor: [0, min) of each axis, by parts.
float expected(const Parameter& parameter, const Tensor& old, const Tensor& initial, int r, int c) {
  const bool vector = old.rank() == 1;
  const int row_parts = parameter.name.find("W_fused") != std::string::npos ? 6 : 1,
            column_parts = parameter.name.ends_with("mdi.W_g.weight") ? 2 : 1;
  const auto source = [](int i, int before, int after, int parts) {
    const int in_part = i % (after / parts), part = i / (after / parts);
    return in_part < before / parts ? part * (before / parts) + in_part : -1;
  };
  const int old_columns = vector ? 1 : old.size(1), columns = vector ? 1 : initial.size(1);
  const int row = source(r, old.size(0), initial.size(0), row_parts),
            column = source(c, old_columns, columns, column_parts);
  return row >= 0 && column >= 0 ? old.data()[row * old_columns + column]
                                 : initial.data()[r * columns + c];
}

void expect_overlap(const Config& before, const Config& after) {
  Grown old(before, 1), grown(after, 2), initial(after, 2);
  old.spread(3);
  const Growth growth = grow(old, grown, GrowthRule::kOverlap);
  int64_t copied = 0;
  for (const Parameter& parameter : grown.parameters.table()) {
    const Tensor now = grown.parameters.weight(parameter.name),
                 drawn = initial.parameters.weight(parameter.name);
    const auto& table = old.parameters.table();
    const auto found = std::ranges::find(table, parameter.name, &Parameter::name);
    const int columns = now.rank() == 1 ? 1 : now.size(1);
    for (int64_t i = 0; i < now.count(); ++i) {
      const int r = static_cast<int>(i / columns), c = static_cast<int>(i % columns);
      const float want =
          found == table.end()
              ? drawn.data()[i]
              : expected(parameter, old.parameters.weight(parameter.name), drawn, r, c);
      ASSERT_EQ(now.data()[i], want) << parameter.name << " [" << r << "][" << c << "]";
    }
  }
  for (const GrownTensor& tensor : growth.tensors) copied += tensor.copied;
  EXPECT_EQ(copied, growth.copied());
  EXPECT_EQ(growth.count(), parameter_count(grown.parameters.table()));
}

TEST(GrowthByOverlap, CopiesThePartsThatBothHave) {
  expect_overlap(config_with({}), config_with({{"dim", 24}, {"layers", 3}, {"vocab_size", 48}}));
}

TEST(GrowthByOverlap, MayShrinkToo) {
  expect_overlap(config_with({{"dim", 24}, {"layers", 3}}),
                 config_with({{"mem_slots", 32}, {"heads", 4}}));
}

TEST(GrowthByOverlap, TakesWhatTwoArchitecturesHaveInCommon) {
  Grown old(config_with({}), 1), grown(config_with({{"arch", "mingru"}}), 2);
  const Growth growth = grow(old, grown, GrowthRule::kOverlap);
  std::set<std::string> copied;
  for (const GrownTensor& tensor : growth.tensors)
    if (tensor.copied > 0) copied.insert(tensor.name);
  EXPECT_TRUE(copied.contains("blocks.1.ffn.3.weight"));
  EXPECT_TRUE(copied.contains("blocks.0.norm1.weight"));
  EXPECT_FALSE(copied.contains("blocks.0.W_zh.weight"));
  EXPECT_TRUE(std::ranges::count(growth.dropped, "blocks.0.W_fused.weight") == 1);
}

TEST(GrowthByOverlap, ChangesTheFunction) {
  Grown old(config_with({}), 1), grown(config_with({{"dim", 32}}), 2);
  grow(old, grown, GrowthRule::kOverlap);
  EXPECT_GT(largest_difference(old.logits(), grown.logits()), 1e-2);
}

// ------------------------------------------------------------------------------------ the exact
// one

struct Case {
  const char* name;
  Fields before, after;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class ExactGrowth : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    before_ = config_with(GetParam().before);
    Fields all = GetParam().before;
    for (const auto& [field, value] : GetParam().after) all[field] = value;
    after_ = config_with(all);
  }
  Config before_, after_;
};

TEST_P(ExactGrowth, KeepsTheLogits) {
  Grown old(before_, 1), grown(after_, 2);
  old.spread(3);
  grow(old, grown, GrowthRule::kExact);
  const std::vector<float> want = old.logits();
  EXPECT_LT(largest_difference(want, grown.logits()), 1e-5);
  EXPECT_GT(*std::ranges::max_element(want), 0.1);  // they are not all alike
  EXPECT_EQ(remaining_difference(before_, after_), "");
}

/// Every new row and column gets a gradient within three steps: none is dead. p and e feed nothing,
/// in any model.
TEST_P(ExactGrowth, LeavesNothingDead) {
  Grown old(before_, 1), grown(after_, 2);
  old.spread(3);
  grow(old, grown, GrowthRule::kExact);
  grown.train(3);
  for (const Parameter& parameter : grown.parameters.table()) {
    const Tensor gradient = grown.parameters.gradient(parameter.name);
    const int columns = gradient.rank() == 1 ? 1 : gradient.size(1);
    const bool fused = parameter.name.find("W_fused") != std::string::npos;
    const int rows = fused ? gradient.size(0) / 6 * 4 : gradient.size(0);
    std::vector<bool> row_lives(static_cast<size_t>(rows)),
        column_lives(static_cast<size_t>(columns));
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < columns; ++c)
        if (gradient.data()[r * columns + c] != 0)
          row_lives[static_cast<size_t>(r)] = column_lives[static_cast<size_t>(c)] = true;
    // Units of DPG's relu with a negative bias are off in a new layer, until z is no longer 0.
    if (parameter.name.find("W_gamma_") != std::string::npos) continue;
    EXPECT_EQ(std::ranges::count(row_lives, false), 0) << "rows of " << parameter.name;
    EXPECT_EQ(std::ranges::count(column_lives, false), 0) << "columns of " << parameter.name;
  }
}

const Fields kAll = {{"dim", 36},        {"heads", 3},       {"layers", 4},
                     {"vocab_size", 48}, {"mem_slots", 192}, {"max_seq", 2048}};
INSTANTIATE_TEST_SUITE_P(
    Growth, ExactGrowth,
    testing::Values(
        Case{"nothing", {}, {}}, Case{"dim", {}, {{"dim", 32}}},
        Case{"dim_a_little", {}, {{"dim", 20}}}, Case{"layers", {}, {{"layers", 4}}},
        // at equal width of a head
        Case{"heads", {}, {{"heads", 4}, {"dim", 32}}},
        Case{"heads_and_their_width", {}, {{"heads", 3}, {"dim", 36}}},
        Case{"vocabulary", {}, {{"vocab_size", 64}}}, Case{"slots", {}, {{"mem_slots", 192}}},
        Case{"all", {}, kAll}, Case{"mingru", {{"arch", "mingru"}}, {{"dim", 32}, {"layers", 3}}},
        Case{"no_hem", {{"hem", false}}, kAll},
        Case{
            "dpg", {{"dpg", true}, {"dpg_rank", 4}}, {{"dim", 32}, {"layers", 3}, {"dpg_rank", 8}}},
        Case{"uboo", {{"uboo", true}}, kAll},
        Case{"dpg_and_uboo", {{"dpg", true}, {"uboo", true}}, kAll},
        Case{"chunks", {{"chunk_size", 5}}, {{"layers", 3}, {"dim", 32}, {"heads", 4}}}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(ExactGrowthAgain, KeepsTheLogits) {
  Grown first(config_with({}), 1), second(config_with({{"dim", 32}, {"layers", 3}}), 2),
      third(config_with({{"dim", 48}, {"layers", 4}, {"mem_slots", 128}}), 3);
  first.spread(3);
  grow(first, second, GrowthRule::kExact);
  second.train(3);
  const std::vector<float> want = second.logits();
  EXPECT_GT(largest_difference(first.logits(), want), 1e-4);  // it has learnt
  grow(second, third, GrowthRule::kExact);
  EXPECT_LT(largest_difference(want, third.logits()), 1e-5);
}

TEST(ExactGrowthOfARandomMemory, DiffersAsTheDrawsDo) {
  Grown old(config_with({{"memory", "random"}}), 1),
      grown(config_with({{"memory", "random"}, {"dim", 32}}), 2);
  grow(old, grown, GrowthRule::kExact);
  const double difference = largest_difference(old.logits(), grown.logits());
  EXPECT_GT(difference, 0);
  EXPECT_LT(difference, 3 * largest_difference(old.logits(1), old.logits(2)));
  EXPECT_NE(remaining_difference(old.config, grown.config), "");
}

TEST(ExactGrowthRefuses, WhatItCannotKeep) {
  const auto expect_refusal = [](const Fields& before, const Fields& after,
                                 std::initializer_list<std::string_view> words) {
    expect_error<UsageError>(
        [&] { check_growth(config_with(before), config_with(after), GrowthRule::kExact); }, words);
  };
  expect_refusal({}, {{"dim", 8}}, {"dim would shrink from 16 to 8"});
  expect_refusal({}, {{"layers", 1}}, {"layers would shrink"});
  expect_refusal({}, {{"heads", 4}}, {"a head would shrink from 8 to 4 units"});
  expect_refusal({}, {{"heads", 1}}, {"heads would shrink"});
  expect_refusal({}, {{"mem_slots", 96}}, {"6 learned slots", "multiple of 64"});
  expect_refusal({}, {{"memory", "random"}}, {"another kind", "memory learned -> random"});
  expect_refusal({}, {{"arch", "mingru"}}, {"another kind", "arch mmrec -> mingru"});
  expect_refusal({{"heads", 8}}, {{"arch", "mingru"}}, {"another kind", "arch mmrec -> mingru"});
}

// ------------------------------------------------------------------------------------------- roles

/// Every architecture with every combination of the switches.
std::vector<Config> every_kind_of_model() {
  std::vector<Config> all;
  for (const std::string& arch : architecture_names())
    for (const int chunk_size : {0, 5})
      for (const bool hem : {true, false})
        for (const bool dpg : {true, false})
          for (const bool uboo : {true, false}) {
            Config config = config_with({{"hem", hem},
                                         {"dpg", dpg},
                                         {"dpg_rank", 4},
                                         {"uboo", uboo},
                                         {"chunk_size", chunk_size}});
            config.arch = arch;
            config = without_unread_fields(config);
            if (std::ranges::count(all, config) == 0) all.push_back(config);
          }
  return all;
}

/// The roles that the blocks declare make every parameter one that can grow exactly.
TEST(Roles, OfEveryKindOfModelKeepTheLogits) {
  for (const Config& before : every_kind_of_model()) {
    SCOPED_TRACE(to_json(before).dump());
    Config after = before;
    after.vocab_size = 48;
    after.dim = 32;
    after.layers = 3;
    after.heads = 4;
    after.mem_slots = 128;
    after.dpg_rank = 8;
    after = without_unread_fields(after);
    Grown old(before, 1), grown(after, 2);
    old.spread(3);
    const Growth growth = grow(old, grown, GrowthRule::kExact);
    EXPECT_LT(largest_difference(old.logits(), grown.logits()), 1e-5);
    for (const GrownTensor& tensor : growth.tensors)
      EXPECT_EQ(tensor.copied == 0, tensor.before.empty()) << tensor.name;
  }
}

TEST(Growth, ItsTableHasALineForEqualTensorsOfSeveralLayers) {
  Grown old(config_with({}), 1), grown(config_with({{"dim", 32}, {"layers", 4}}), 2);
  const std::string table = growth_table(grow(old, grown, GrowthRule::kOverlap));
  EXPECT_NE(table.find("embedding.weight"), table.npos) << table;
  EXPECT_NE(table.find("[32, 16] -> [32, 32]"), table.npos) << table;
  EXPECT_NE(table.find("copied 512 of 1024"), table.npos) << table;
  EXPECT_NE(table.find("blocks 0-1"), table.npos) << table;
  EXPECT_NE(table.find("blocks 2-3"), table.npos) << table;
}

}  // namespace
}  // namespace mmrec
