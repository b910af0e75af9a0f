#pragma once

#include <memory>
#include <string>
#include <vector>

#include "model/block.h"

namespace mmrec {

/// Returns the allowed values of the field `arch`.
std::vector<std::string> architecture_names();
/// Makes a block of the configuration's architecture. Throws a UsageError for an unknown
/// architecture.
std::unique_ptr<Block> make_block(const Config& config, int T, int B);
/// Returns for example "4 layers, 4 heads, vocabulary 5000": layers, the block's describe(),
/// vocabulary.
std::string describe_layers(const Config& config);

}  // namespace mmrec
