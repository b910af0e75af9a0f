#pragma once

/// What kernels and models compute with: contexts, threads, random numbers.
#include "runtime/arena.h"
#include "runtime/context.h"
#include "runtime/rng.h"
#include "runtime/tensor.h"
#include "runtime/threads.h"
#include "support/error_types.h"
#include "support/version.h"
