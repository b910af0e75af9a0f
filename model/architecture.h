#pragma once

#include <memory>
#include <string>
#include <vector>

#include "model/block.h"

namespace mmrec {

/// The architectures' names: what the field `arch` may be.
std::vector<std::string> architecture_names();
/// A block of the configuration's architecture; throws a UsageError for one that there is not.
std::unique_ptr<Block> make_block(const Config& config, int T, int B);
/// "4 layers, 4 heads, vocabulary 5000": layers, what the architecture says of them, vocabulary.
std::string describe_layers(const Config& config);

}  // namespace mmrec
