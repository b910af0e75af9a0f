#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "train/data/data_file.h"

namespace mmrec {

/// A value of `--mix`: PATH=WEIGHT. What follows the last '=' is the weight if it is a number; else
/// all of it is the path, and the weight 1.
struct MixArgument {
  std::string path;
  double weight;
};
/// Throws a UsageError if there is no path, or if the weight is not a positive number.
MixArgument parse_mix(std::string_view text);

/// Ends a document in the file of a MixText: no UTF-8 has this byte.
constexpr char kEndOfDocument = '\xff';

/// The training text of a source.
struct MixText {
  DataFile file;       ///< UTF-8, not compressed; each document with kEndOfDocument behind it
  bool has_documents;  ///< else it is cut into parts; see mix()
  int64_t bytes;       ///< of text, more than 0
  double weight;
};

/// A source is gone through at most this often: up to four times the same text is nearly as good as
/// new text (Muennighoff et al., "Scaling data-constrained language models", 2023).
constexpr double kMostPasses = 4;

/// A source's part of a mixed text.
struct MixPart {
  double asked;     ///< its weight over the sum of all
  double bytes;     ///< how much of it there is to be
  bool is_limited;  ///< these are less than asked for: kMostPasses times the source
};
/// Divides a mixed text, which is as large as all texts together, between the sources: by their
/// weights; what a source cannot have because of kMostPasses, the others get by their weights
/// (Chung et al., "UniMax: fairer and more effective language sampling", 2023).
std::vector<MixPart> parts_of_mix(std::span<const MixText> texts);

/// How mix() works, for a manifest.
constexpr const char* kMixRule =
    "the text is as large as the sources together and divided by their weights, but no source is "
    "in it more than 4 times; next is the piece that brings its source least far ahead; a piece is "
    "a document, of a text 32 KiB or a hundredth of it, if that is less, to the end of the line";

/// Mixes texts: calls visit(piece) with all that there is to be of each. At every place of the
/// mixed text each source is as far as it is to be in all, up to a piece. A piece is a document; of
/// a text it is 32 KiB or, if that is less, a hundredth of the text, and what is missing to the end
/// of the line; a line of more than 64 KiB is cut between characters. A piece without a line end
/// gets one. A source that ends begins anew; where not all of it is needed, its pieces are from all
/// over it. Memory does not depend on the texts' size, but for the longest document. Returns how
/// many bytes of each source there are: what its part says to within half a piece.
std::vector<int64_t> mix(std::span<const MixText> texts,
                         const std::function<void(std::string_view piece)>& visit);

}  // namespace mmrec
