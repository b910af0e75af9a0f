#pragma once

#include <vector>

namespace mmrec {

/// What an axis of a parameter, or a part of it, counts. A block says it where it declares the
/// parameter, and growing (model/growth.h) goes by it alone. It decides what the exact growth does
/// with a new index:
///
///             as an output (row)           as an input (column) of an old row
/// kChannels   0                            its initial value
/// kUnits      its initial value            0
/// kHeads      0 in an old head, else its   0
///             initial value
///
/// A new index is without influence if either what is written to it or what reads it is 0. Never
/// both, or neither would ever get a gradient.
enum class Role {
  kChannels,  ///< of the residual stream, or of h and z, which are added to it: new ones must be 0,
              ///< because the norms' root mean square is over all channels
  kUnits,     ///< hidden units, and gates, which nothing but their own channel reads
  kHeads,     ///< [H][D/H], units of the attention's query and context
  kNorm,      ///< factors of normalised channels
  kTokens,    ///< rows of the embedding
  kEmbedded,  ///< columns of the embedding: channels that its rows write
  kSlotUnits,  ///< columns of the memory: like kHeads, but the query or W_o has the 0
  kKeySlots,   ///< rows of the memory: new slots are copies of the old ones in turn, so that each
               ///< old one keeps its share of the attention
  kValueSlots  ///< the same, but copies differ around their old value, or they would get equal
               ///< gradients for ever
};

/// The roles of a parameter's axes: of its outputs (the rows; all of a vector), and of its inputs
/// (the columns of a matrix). Several roles: the axis is that many parts of equal size.
struct Roles {
  std::vector<Role> rows, columns = {};
};

}  // namespace mmrec
