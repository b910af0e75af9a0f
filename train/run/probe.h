#pragma once

#include <filesystem>

namespace mmrec {

/// Runs one training step without dropout on the content of a safetensors file, for comparison with
/// another implementation.
/// Input: metadata `config` (JSON), weights `w.NAME`, banks `memory` and `memory_v` [L][M][D],
/// `ids` and `targets` [B][T] (int32).
/// Output: the input, logits [B][T][V], token_loss [B][T], loss [1], grad_norm [1], gradients
/// `g.NAME`, and the weights `w1.NAME` after one AdamW step with default settings and clip 1.
void probe(const std::filesystem::path& input, const std::filesystem::path& output);

}  // namespace mmrec
