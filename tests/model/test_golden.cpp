#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/memory.h"
#include "model/safetensors.h"
#include "tests/common/temporary_directory.h"
#include "train/run/probe.h"

namespace mmrec {
namespace {

/// An input of probe with the results of an independent implementation in float64, and probe's own
/// results.
struct Files {
  explicit Files(const std::filesystem::path& file) : truth(file) {
    const test::TemporaryDirectory directory;
    probe(file, directory / "out.safetensors");
    result = std::make_unique<SafetensorsFile>(directory / "out.safetensors");
  }
  SafetensorsFile truth;
  std::unique_ptr<SafetensorsFile> result;
};

class Golden : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    std::unique_ptr<Files>& files = all_[GetParam()];
    if (!files)
      files =
          std::make_unique<Files>(std::filesystem::path(MMREC_SOURCE_DIR) / "tests/model/golden" /
                                  fmt::format("{}.safetensors", GetParam()));
    truth_ = &files->truth;
    result_ = files->result.get();
  }
  static void TearDownTestSuite() { all_.clear(); }

  static std::vector<float> values(const SafetensorsFile& file, std::string_view name) {
    EXPECT_TRUE(file.find(name).dtype == Dtype::kF32) << name;
    const std::vector<std::byte> bytes = file.bytes(name);
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  std::vector<float> truth(std::string_view name) const { return values(*truth_, name); }
  std::vector<float> result(std::string_view name) const { return values(*result_, name); }

  /// Returns the parameters' names, without their prefix in the file.
  std::vector<std::string> parameters() const {
    std::vector<std::string> names;
    for (const auto& [name, tensor] : truth_->tensors())
      if (name.starts_with("w.")) names.push_back(name.substr(2));
    return names;
  }

  const SafetensorsFile *truth_ = nullptr, *result_ = nullptr;

 private:
  static inline std::map<std::string, std::unique_ptr<Files>> all_;
};
INSTANTIATE_TEST_SUITE_P(Files, Golden,
                         testing::Values("base", "no_hem", "dpg", "uboo", "dpg_uboo", "chunked",
                                         // of make_golden.py:
                                         "odd", "carried", "learned", "chunked_dpg_uboo"),
                         [](const auto& info) { return std::string(info.param); });

double largest(const std::vector<float>& values) {
  double largest = 0;
  for (const float value : values)
    largest = std::max(largest, std::abs(static_cast<double>(value)));
  return largest;
}

/// Returns a non-finite value if an element of `got` is not finite.
double largest_difference(const std::vector<float>& got, const std::vector<float>& want) {
  EXPECT_EQ(got.size(), want.size());
  double largest = 0;
  for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    const double difference = std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i]));
    if (!(difference <= largest)) largest = difference;
    if (std::isnan(largest)) break;
  }
  return largest;
}

TEST_P(Golden, ForwardPass) {
  for (const char* name : {"logits", "token_loss", "loss", "aux_loss"}) {
    if (!truth_->tensors().contains(name)) continue;
    EXPECT_LE(largest_difference(result(name), truth(name)), 1e-5) << name;
  }
}

TEST_P(Golden, Gradients) {
  for (const std::string& name : parameters()) {
    const std::vector<float> want = truth("g." + name);
    EXPECT_LE(largest_difference(result("g." + name), want), 5e-5 * largest(want)) << name;
  }
  EXPECT_NEAR(result("grad_norm").at(0), truth("grad_norm").at(0), 1e-5 * truth("grad_norm").at(0));
}

TEST_P(Golden, WeightsAfterTheOptimizersStep) {
  const double clip = std::min(1.0, 1.0 / truth("grad_norm").at(0));
  for (const std::string& name : parameters()) {
    const std::vector<float> gradient = truth("g." + name);
    std::vector<float> want = truth("w1." + name), got = result("w1." + name);
    ASSERT_EQ(got.size(), want.size()) << name;
    size_t compared = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      // Below this, rounding decides the sign of Adam's first step.
      if (clip * std::abs(gradient[i]) > 1e-6)
        ++compared;
      else
        got[i] = want[i];
    }
    EXPECT_GT(compared, want.size() / 3) << name;
    EXPECT_LE(largest_difference(got, want), 1e-6) << name;
  }
}

TEST_P(Golden, OutputHasTheReferencesKeysAndTheExactInputs) {
  std::vector<std::string> want, got;
  for (const auto& [name, tensor] : truth_->tensors()) want.push_back(name);
  for (const auto& [name, tensor] : result_->tensors()) got.push_back(name);
  EXPECT_EQ(got, want);
  EXPECT_EQ(result_->metadata(), truth_->metadata());
  for (const auto& [name, tensor] : truth_->tensors()) {
    const TensorEntry& back = result_->find(name);
    EXPECT_TRUE(back.dtype == tensor.dtype && back.shape == tensor.shape) << name;
    const bool is_input = name.starts_with("w.") || name == "ids" || name == "targets" ||
                          name == "memory" || name == "memory_v";
    EXPECT_TRUE(!is_input || result_->bytes(name) == truth_->bytes(name)) << name;
  }
}

/// The same slots as parameters give the same results, and in addition gradients and updates of the
/// slots.
TEST_P(Golden, WithTheMemoryAmongTheParameters) {
  if (!truth_->tensors().contains("memory")) GTEST_SKIP() << "The slots are parameters already.";
  const test::TemporaryDirectory directory;
  StoredTensors inputs;
  std::vector<std::vector<std::byte>> bytes;
  for (const auto& [name, tensor] : truth_->tensors())
    inputs[name] = {tensor.dtype, tensor.shape, bytes.emplace_back(truth_->bytes(name))};
  nlohmann::json config = nlohmann::json::parse(truth_->metadata().at("config"));
  const int layers = config["layers"], slots = config["mem_slots"], D = config["dim"],
            top = slots / 16;
  config["memory"] = "learned";
  std::vector<std::vector<float>> banks;
  for (const auto& [bank, parameter] : {std::pair("memory", "k"), {"memory_v", "v"}}) {
    std::vector<float> all = truth(bank);
    std::vector<float>& pooled = banks.emplace_back(static_cast<size_t>(layers * top * D));
    const Tensor full(all.data(), {layers, slots, D}), tops(pooled.data(), {layers, top, D});
    for (int layer = 0; layer < layers; ++layer) {
      pool_bank(full.at(layer), tops.at(layer));
      inputs[fmt::format("w.blocks.{}.memory.{}", layer, parameter)] = to_store(tops.at(layer));
    }
    inputs.erase(bank);
  }
  write_safetensors(directory / "in.safetensors", inputs, {{"config", config.dump()}});
  probe(directory / "in.safetensors", directory / "out.safetensors");

  const SafetensorsFile learned(directory / "out.safetensors");
  for (const auto& [name, tensor] : result_->tensors()) {
    const bool is_the_same =
        name.starts_with("g.") || name == "logits" || name == "loss" || name == "token_loss";
    EXPECT_TRUE(!is_the_same || values(learned, name) == result(name)) << name;
  }
  double squares = 0;
  for (int layer = 0; layer < layers; ++layer)
    for (const char* parameter : {"k", "v"}) {
      const std::string name = fmt::format("blocks.{}.memory.{}", layer, parameter);
      for (const float gradient : values(learned, "g." + name))
        squares += static_cast<double>(gradient) * gradient;
      // The first step moves everything with a gradient by the learning rate, 3e-4. Decay alone
      // would move these by at most 6e-5.
      EXPECT_GT(largest_difference(values(learned, "w1." + name), values(learned, "w." + name)),
                2e-4)
          << name;
    }
  const double norm = result("grad_norm").at(0);
  EXPECT_GT(squares, 0);
  EXPECT_NEAR(values(learned, "grad_norm").at(0), std::sqrt(norm * norm + squares), 1e-6 * norm);
  for (const char* bank : {"memory", "memory_v"}) EXPECT_FALSE(learned.tensors().contains(bank));
}

}  // namespace
}  // namespace mmrec
