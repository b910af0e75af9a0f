#pragma once

#include <nlohmann/json_fwd.hpp>

#include "train/infer/sampler.h"

namespace mmrec {

/// Returns the settings by the options' names, with underscores, and the seed.
nlohmann::ordered_json to_json(const Sampling& sampling);

}  // namespace mmrec
