#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "support/path_at.h"

namespace mmrec {

/// Throws an Error unless `text` is valid UTF-8. The message names `where` (a file, an option) and
/// the offset of the first invalid byte, or of a character that the end of the text cuts off.
/// `first_byte` is the offset of the text's first byte, for texts read in pieces.
void check_utf8(std::string_view text, std::string_view where, int64_t first_byte = 0);

/// Decoded text of an unknown character.
constexpr std::string_view kReplacementCharacter = "\uFFFD";

/// Number of occurrences of each character (code point).
using CharacterCounts = std::unordered_map<char32_t, int64_t>;
/// Adds a UTF-8 text's characters to the counts. A long text may be passed in pieces that end
/// between characters.
void count_characters(std::string_view text, std::string_view where, CharacterCounts& counts);

/// Character tokenizer. Id 0 is <UNK>, 1 is <PAD>; then come the characters by descending
/// frequency, ties by code point.
class Tokenizer {
 public:
  static constexpr int32_t kUnknown = 0;
  static constexpr int32_t kPadding = 1;
  static constexpr int kMinSize = 3;  ///< <UNK>, <PAD> and a character

  /// limit: maximum number of ids (--vocab N, at least kMinSize; 0: none). The rarest characters
  /// beyond it become <UNK>.
  explicit Tokenizer(const CharacterCounts& counts, int limit = 0);
  /// Reads tokenizer.json: {"type": "char", "tokens": [..]}, tokens in the order of their ids.
  static Tokenizer load(const PathAt& path);
  /// Parses such a file's text. `file` is its name in errors.
  static Tokenizer parse(std::string_view text, const std::string& file);
  void save(const PathAt& path) const;
  /// Returns a copy with additional ids, after the existing ones, for the unknown characters: by
  /// descending frequency, ties by code point.
  Tokenizer extended(const CharacterCounts& counts) const;

  /// Number of ids.
  int size() const { return static_cast<int>(tokens_.size()); }
  bool knows(char32_t character) const { return id_of(character) != kUnknown; }
  /// Returns the ids of a text. Characters without an id become <UNK>. Throws for invalid UTF-8 as
  /// check_utf8 does.
  std::vector<int32_t> encode(std::string_view text, std::string_view where) const;
  /// Returns the text of a token, one whole character: U+FFFD for <UNK>, "" for <PAD>. Throws an
  /// Error for an invalid id.
  std::string_view decode(int32_t id) const;
  std::string decode(std::span<const int32_t> ids) const;

  bool operator==(const Tokenizer&) const = default;

 private:
  explicit Tokenizer(const std::vector<char32_t>& characters);
  void add(const std::vector<char32_t>& characters);
  int32_t id_of(char32_t character) const {
    return character < ids_.size() ? ids_[character] : kUnknown;
  }

  std::vector<std::string> tokens_;  // by id
  std::vector<int32_t> ids_;  // by code point, up to the highest with a token: at most 4.4 MB
};

/// Describes the characters of a text that have no token; "" if there are none.
std::string describe_unknown(const Tokenizer& tokenizer, const CharacterCounts& counts);

/// Returns the vocabulary of `--vocab auto`: `size` rounded up to a multiple of 16, so that the
/// output layer's rows fill whole vectors.
int padded_vocabulary(int size);

/// Parses `--vocab`: "auto" returns 0, a number of at least Tokenizer::kMinSize itself, "" returns
/// `configured`. Throws a UsageError for anything else.
int parse_vocabulary(std::string_view text, int configured);

}  // namespace mmrec
