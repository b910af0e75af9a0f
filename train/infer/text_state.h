#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "support/path_at.h"

namespace mmrec {

/// What of a text a generator needs to go on with it.
struct TextState {
  int layers = 0, width = 0;
  std::vector<float> values = {};    ///< the recurrent state, [layers][width]
  std::vector<int32_t> recent = {};  ///< the last tokens, as many as the repetition window had
  std::vector<int32_t> unread = {};  ///< tokens of the text that `values` do not know yet
  int64_t tokens = 0;                ///< of the text so far
  uint64_t draws = 0;                ///< random numbers that were used
  std::string unshown = {};          ///< bytes at its end that begin a character
};

/// Writes a state to a file, atomically. `weights` identifies the weights that made it
/// (Checkpoint::describe_weights).
void save_text_state(const PathAt& file, const TextState& state, const std::string& weights);

/// Returns what save_text_state() writes.
std::string text_state_content(const TextState& state, const std::string& weights);

/// Reads it. Throws an Error if the file is no such state, or one of other weights.
TextState load_text_state(const PathAt& file, const std::string& weights);
/// The same of a file's content. `shown` is its name in messages.
TextState parse_text_state(std::string content, const std::string& shown,
                           const std::string& weights);

}  // namespace mmrec
