#pragma once

#include <cstdint>
#include <filesystem>

#include "train/data/tokenizer.h"
#include "train/ranks/ranks.h"
#include "train/run/data.h"
#include "train/run/options.h"

namespace mmrec {

/// What the leader tells the other ranks to do: to look for a file; with their trainers, to make
/// one, to take over the leader's parameters, a step, a validation, to give or take moments; and to
/// end.
enum class Command : int {
  kLook,
  kMake,
  kShare,
  kStep,
  kMeasure,
  kGatherMoments,
  kScatterMoments,
  kEnd
};

/// Computes what the leader commands, until it ends. The leader runs train() meanwhile, whose
/// trainer gives the commands. If an exception leaves one of the two, call Ranks::abort(): the
/// other ranks wait for this one.
void follow(Ranks& ranks);
/// Ends what the others follow.
void end_following(Ranks& ranks);

/// Throws a UsageError if the leader's run folder, or where it will be made, is not one that all
/// ranks see: the run would be lost with the leader's node. Leaves nothing in it.
void check_is_shared(const std::filesystem::path& run, Ranks& ranks);

/// Has every other rank make a trainer like the leader's. Throws a UsageError if one of them
/// cannot, or has another program or other data.
void have_followers_made(const TrainOptions& options, const Tokenizer& tokenizer,
                         const DataFingerprint& data, int64_t begin, Ranks& ranks);

}  // namespace mmrec
