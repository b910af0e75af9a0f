#pragma once

namespace mmrec {

// What generators and runtime must agree on. The references in tests/ have their own, so that a wrong one is found.

/// The model's normalisation adds its epsilon to the root-mean-square, outside the root.
inline constexpr float kNormEpsilon = 1e-6f;

/// MDI's gamma, the decay, stays within [kMdiGammaMin, 1 - kMdiGammaMin].
inline constexpr float kMdiGammaMin = 1e-6f;

/// MDI's share of the state's update.
inline constexpr float kMdiShare = 0.1f;

/// The recurrence's packed weights have columns padded with zeros to a multiple of this, the steps' column tile.
inline constexpr int kRecurrenceTile = 64;

/// Rows that a task of the fused linear_cross_entropy works off together.
inline constexpr int kLinearCrossEntropyPanel = 32;

}  // namespace mmrec
