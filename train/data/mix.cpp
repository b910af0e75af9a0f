#include "train/data/mix.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>
#include <optional>

#include "support/error.h"
#include "support/parse_number.h"
#include "train/data/tokenizer.h"

namespace mmrec {
namespace {

constexpr size_t kBuffer = size_t{1} << 20;  // bytes that are read at once
constexpr size_t kPart = size_t{32} << 10;   // bytes of a text's piece
constexpr size_t kLongestPart = size_t{64} << 10;
constexpr int64_t kFewestParts = 100;  // of a text

/// The pieces of a source, over and over.
class Pieces {
 public:
  /// part: how much of the source is needed; 1: all of it, perhaps several times.
  Pieces(const MixText& text, double part)
      : source_(text.file),
        has_documents_(text.has_documents),
        part_size_(std::clamp<size_t>(static_cast<size_t>(text.bytes / kFewestParts), 1, kPart)),
        part_(part) {
    advance();
  }
  Pieces(const Pieces&) = delete;
  Pieces& operator=(const Pieces&) = delete;

  /// Valid until advance(). Never empty.
  std::string_view piece() const { return piece_; }
  /// Goes to the next piece that is needed.
  void advance() {
    do {
      piece_ = next();
      passed_ += static_cast<double>(piece_.size());
    } while (is_first_pass_ && taken_ + static_cast<double>(piece_.size()) / 2 > part_ * passed_);
    taken_ += static_cast<double>(piece_.size());
  }

 private:
  std::string_view next() {
    for (size_t searched = 0;;) {
      const std::string_view rest = std::string_view(held_).substr(used_);
      if (const size_t end = end_of_piece(rest, searched); end != rest.npos) {
        used_ += end + (has_documents_ ? 1 : 0);
        return rest.substr(0, end);
      }
      searched = rest.size();
      refill();
    }
  }
  /// Returns the size of the piece that a text begins with, or npos if more has to be read.
  size_t end_of_piece(std::string_view rest, size_t searched) const {
    if (has_documents_) return rest.find(kEndOfDocument, searched);
    if (rest.empty() || (rest.size() < kLongestPart && !at_end_)) return rest.npos;
    const std::string_view longest = rest.substr(0, kLongestPart);
    if (const size_t line_end = longest.find('\n', part_size_ - 1); line_end != longest.npos)
      return line_end + 1;
    return longest.size() - unfinished_bytes(longest);
  }
  void refill() {
    held_.erase(0, used_);
    used_ = 0;
    if (at_end_) {
      source_.seek(0);
      is_first_pass_ = false;
    }
    const size_t kept = held_.size();
    held_.resize(kept + kBuffer);
    const size_t got = source_.read(std::span(held_).subspan(kept));
    held_.resize(kept + got);
    at_end_ = got < kBuffer;
  }

  FileSource source_;
  bool has_documents_;
  size_t part_size_;
  double part_;
  std::string held_;  // what was read and is not used up
  size_t used_ = 0;   // bytes of it
  bool at_end_ = false, is_first_pass_ = true;
  std::string_view piece_;
  double passed_ = 0, taken_ = 0;  // bytes
};

/// Returns the shares, by their weights, of the sources that are not limited; 0 of the others.
std::vector<double> open_shares(std::span<const MixText> texts, std::span<const MixPart> parts) {
  std::vector<double> shares;
  for (size_t i = 0; i < texts.size(); ++i)
    shares.push_back(parts[i].is_limited ? 0 : texts[i].weight);
  const double largest = std::ranges::max(shares);
  for (double& share : shares) share /= largest;  // the sum of the weights may be no double
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.);
  for (double& share : shares) share /= sum;
  return shares;
}

}  // namespace

MixArgument parse_mix(std::string_view text) {
  MixArgument argument{std::string(text), 1};
  if (const size_t sign = text.rfind('='); sign != text.npos)
    if (const auto weight = parse_number<double>(text.substr(sign + 1)))
      argument = {std::string(text.substr(0, sign)), *weight};
  if (argument.path.empty())
    fail_usage("--mix {}: there is no file or folder; write PATH=WEIGHT", text);
  if (!(argument.weight > 0 && std::isfinite(argument.weight)))
    fail_usage(
        "--mix {}: the weight must be a positive number; leave a source out that is not "
        "wanted",
        text);
  return argument;
}

std::vector<MixPart> parts_of_mix(std::span<const MixText> texts) {
  std::vector<MixPart> parts(texts.size());
  const std::vector<double> asked = open_shares(texts, parts);
  for (size_t i = 0; i < texts.size(); ++i) parts[i].asked = asked[i];
  for (bool has_changed = true; has_changed;) {
    has_changed = false;
    double left = 0;  // for those that are not limited
    for (size_t i = 0; i < texts.size(); ++i)
      left += static_cast<double>(texts[i].bytes) - (parts[i].is_limited ? parts[i].bytes : 0);
    const std::vector<double> shares = open_shares(texts, parts);
    for (size_t i = 0; i < texts.size(); ++i) {
      if (parts[i].is_limited) continue;
      const double wanted = left * shares[i],
                   most = kMostPasses * static_cast<double>(texts[i].bytes);
      parts[i].bytes = std::min(wanted, most);
      if (wanted > most) parts[i].is_limited = has_changed = true;
    }
  }
  return parts;
}

std::vector<int64_t> mix(std::span<const MixText> texts,
                         const std::function<void(std::string_view)>& visit) {
  const std::vector<MixPart> parts = parts_of_mix(texts);
  std::deque<Pieces> pieces;
  for (size_t i = 0; i < texts.size(); ++i)
    pieces.emplace_back(texts[i],
                        std::min(1., parts[i].bytes / static_cast<double>(texts[i].bytes)));
  std::vector<int64_t> taken(texts.size());
  for (;;) {
    std::optional<size_t> next;
    double nearest = 0;
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto now = static_cast<double>(taken[i]),
                 size = static_cast<double>(pieces[i].piece().size());
      // How far a source is with its piece (weighted fair queueing: Demers, Keshav, Shenker,
      // "Analysis and simulation of a fair queueing algorithm", 1989).
      const double place = (now + size) / parts[i].bytes;
      if (now + size / 2 > parts[i].bytes || (next && place >= nearest)) continue;
      next = i;
      nearest = place;
    }
    if (!next) return taken;
    const std::string_view piece = pieces[*next].piece();
    visit(piece);
    if (!piece.ends_with('\n')) visit("\n");
    taken[*next] += std::ssize(piece);
    pieces[*next].advance();
  }
}

}  // namespace mmrec
