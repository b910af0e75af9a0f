#pragma once

#include <memory>

#include "train/programs/command_line.h"
#include "train/ranks/ranks.h"

namespace mmrec {

/// Has the program's ranks begin together: Program::run() sets `ranks` before it calls its body.
/// Rank 0 prints what is wrong with the command lines, once if it is the same on all, and else with
/// the ranks' names; then all end.
void begin_as_rank(Program& program, std::unique_ptr<Ranks>& ranks);

}  // namespace mmrec
