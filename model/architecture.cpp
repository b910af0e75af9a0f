#include "model/architecture.h"

#include <fmt/ranges.h>

#include "model/blocks/mingru_block.h"
#include "model/blocks/mmrec_block.h"
#include "support/counted.h"
#include "support/error.h"

namespace mmrec {

namespace {

using MakeBlock = std::unique_ptr<Block>(const Config& config, int T, int B);

template <class B>
std::unique_ptr<Block> make(const Config& config, int T, int batch) {
  return std::make_unique<B>(config, T, batch);
}

constexpr struct {
  const char* name;
  MakeBlock* make;
} kArchitectures[] = {
    {"mmrec", make<MmrecBlock>},
    {"mingru", make<MingruBlock>},
};

}  // namespace

std::vector<std::string> architecture_names() {
  std::vector<std::string> names;
  for (const auto& architecture : kArchitectures) names.push_back(architecture.name);
  return names;
}

std::string describe_layers(const Config& config) {
  return fmt::format("{}, {}, vocabulary {}", counted(config.layers, "layer"),
                     make_block(config, 1, 1)->describe(), config.vocab_size);
}

std::unique_ptr<Block> make_block(const Config& config, int T, int B) {
  for (const auto& architecture : kArchitectures)
    if (config.arch == architecture.name) return architecture.make(config, T, B);
  fail_usage("configuration: arch must be one of {}, not {}", fmt::join(architecture_names(), ", "),
             config.arch);
}

}  // namespace mmrec
