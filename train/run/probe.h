#pragma once

#include <filesystem>

namespace mmrec {

/// One training step without dropout on what a safetensors file holds, for comparison with another implementation.
/// Input: the configuration as JSON in the metadata's `config`, weights `w.NAME`, banks `memory` and `memory_v` [L][M][D],
/// `ids` and `targets` [B][T] (int32). Output: the same, with logits [B][T][V], token_loss [B][T], loss, grad_norm [1],
/// gradients `g.NAME` and the weights after one AdamW step of default settings with clip 1, `w1.NAME`.
void probe(const std::filesystem::path& input, const std::filesystem::path& output);

}  // namespace mmrec
