#pragma once

#include <gtest/gtest.h>

#include <string>

#include "runtime/kernel_registry.h"

/// Skips a test that computes in bf16 where nothing can.
#define MMREC_NEEDS_BF16() \
  if (const std::string reason = mmrec::why_no_bf16(); !reason.empty()) GTEST_SKIP() << reason
