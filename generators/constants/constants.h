#pragma once

namespace mmrec {

// Constants shared by generators and runtime. The references in bench/reference/ define their own
// copies, to detect a wrong value here.

/// Epsilon of the normalisation. It is added to the root-mean-square, outside the root.
inline constexpr float kNormEpsilon = 1e-6f;

/// MDI's decay gamma is clamped to [kMdiGammaMin, 1 - kMdiGammaMin].
inline constexpr float kMdiGammaMin = 1e-6f;

/// MDI's share of the state update.
inline constexpr float kMdiShare = 0.1f;

/// Column tile of the recurrence steps. The packed weights are padded with zeros to a multiple of
/// it.
inline constexpr int kRecurrenceTile = 64;

/// Columns of a panel of the recurrence steps' packed weights: a divisor of the tile, and at least
/// a vector.
inline constexpr int kRecurrencePanel = 16;

/// Outputs of a panel of packed weights (runtime/ops/weight.h): at least a vector.
inline constexpr int kWeightPanel = 16;

/// Rows of bytes at the beginning of a panel of int8 weights: byte i of the columns' scales is in
/// row i.
inline constexpr int kInt8ScaleRows = 4;

/// Rows per task of the fused linear_cross_entropy.
inline constexpr int kLinearCrossEntropyPanel = 32;

}  // namespace mmrec
