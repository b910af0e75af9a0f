#pragma once

#include <string>
#include <string_view>

#include "runtime/context.h"

namespace mmrec {

/// Parses the `--precision` of a model that is used: float32, bf16 or int8. Throws a UsageError for
/// anything else.
Precision parse_precision(std::string_view name);
/// The same of a model that is trained: float32 or bf16.
Precision parse_training_precision(std::string_view name);

/// As parse_precision(). Also throws an Error if this process has no kernels for it.
Precision usable_precision(std::string_view name);

/// Where a precision is asked for and this process has no kernels for it, makes it float32 and
/// returns a line that says so and why; else returns "".
std::string fall_back(std::string& precision);

/// Throws a UsageError that says what to do if this process cannot take the next steps of a run
/// with the bits that the others of its steps have. `whose`: "the run", "the leader".
void check_same_bits(std::string_view precision, std::string_view whose);

}  // namespace mmrec
