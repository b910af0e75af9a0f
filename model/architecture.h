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

}  // namespace mmrec
