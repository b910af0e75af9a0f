#pragma once

#include <fmt/format.h>

#include <algorithm>

#include "model/parameters.h"

namespace mmrec::test {

/// Makes the state grow by a fifth per token: it overflows a float after some hundreds of tokens.
inline void let_state_grow(const Config& config, Parameters& parameters) {
  const auto set = [&](int layer, const char* name, float value) {
    const Tensor tensor = parameters.weight(fmt::format("blocks.{}.{}", layer, name));
    std::fill_n(tensor.data(), tensor.count(), value);
  };
  for (int layer = 0; layer < config.layers; ++layer) {
    for (const char* name : {"mdi.W_gamma.2.weight", "mdi.W_context.2.weight", "mdi.W_g.weight"})
      set(layer, name, 0);
    for (const char* name : {"mdi.W_gamma.2.bias", "mdi.W_context.2.bias"}) set(layer, name, 20);
    set(layer, "mdi.W_g.bias", -20);
    set(layer, "W_fused.bias", 1e8f);
  }
}

}  // namespace mmrec::test
