#pragma once

#include <string>
#include <vector>

#include "model/config.h"
#include "train/run/options.h"

namespace mmrec {

/// What a run's model is to be: `--config`, and `--set`, `--arch` and `--memory`, which are fields.
struct ModelRequest {
  std::string config = "tiny";  ///< a preset's name, or a JSON file of fields
  bool config_is_given = false;
  std::vector<std::string> fields = {};  ///< field=value
};

/// TrainOptions::vocabulary where nobody gave one: that of the configuration, or auto.
constexpr int kConfigured = -1;

/// Returns the configuration that is asked for. `base`: a checkpoint's configuration, if there is
/// one; the vocabulary is always that of `base`.
Config requested_config(const ModelRequest& request, const Config& base);

/// Give the options of a new run its configuration and vocabulary, that of the model that is asked
/// for, or of the checkpoint of `--init`. Throw a UsageError if the options ask for something else
/// at the same time.
void start_anew(const ModelRequest& request, TrainOptions& options);
void start_from_checkpoint(const ModelRequest& request, TrainOptions& options);

}  // namespace mmrec
