#pragma once

#include <cstdint>
#include <filesystem>

#include "model/growth.h"
#include "train/run/checkpoint.h"

namespace mmrec {

/// Grows a checkpoint's weights into `grown`, a model `to` whose weights have their initial values.
/// Throws a UsageError if the rule cannot, or if `to` has no room for the checkpoint's tokenizer.
Growth read_grown_weights(const Checkpoint& checkpoint, const Config& to, GrowthRule rule,
                          Parameters& grown);

/// Writes a checkpoint of a model `to` that has grown from another checkpoint: with its tokenizer,
/// step and seed, but no moments and no run that could go on. seed: of what is new. Throws a
/// UsageError if there is something at `out` already.
Growth upscale(const Checkpoint& checkpoint, const Config& to, GrowthRule rule, uint64_t seed,
               const std::filesystem::path& out);

}  // namespace mmrec
