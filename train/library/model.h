#pragma once

/// A model as mathematics: its configuration, parameters, loss and gradients, and the optimiser.
/// You hold the loop.
#include "train/library/runtime.h"
#include "model/config.h"
#include "model/model.h"
#include "model/optimizer.h"
#include "model/parameters.h"
