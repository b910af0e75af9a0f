#pragma once

#include <string>

#include "train/train_options.h"

namespace mmrec {

/// `train --plan`: what a run would take, as lines for people: parameters, memory by kind, disk, operations a token, the speed to
/// expect of this machine, whose rate of matrix products is measured for a quarter of a second, and the run's length. No model
/// is allocated, so any configuration works, also those that this version cannot train.
std::string plan(const TrainOptions& options);

}  // namespace mmrec
