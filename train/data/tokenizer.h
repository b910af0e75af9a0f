#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "support/path_at.h"

namespace mmrec {

/// Throws an Error that names `where` (a file, an option) and the offset of the first byte that is not UTF-8, or of the character that
/// the text's end cuts off; `first_byte` is the offset of the text's first byte, for a text that comes in pieces.
void check_utf8(std::string_view text, std::string_view where, int64_t first_byte = 0);

/// What stands for a character that is unknown.
constexpr std::string_view kReplacementCharacter = "\uFFFD";

/// How often each character (code point) occurs.
using CharacterCounts = std::unordered_map<char32_t, int64_t>;
/// Adds a UTF-8 text's characters; a long text may come in pieces that end between characters.
void count_characters(std::string_view text, std::string_view where, CharacterCounts& counts);

/// A token is a character. Id 0 is <UNK>, 1 is <PAD>, then come the characters by falling frequency, ties by code point.
class Tokenizer {
 public:
  static constexpr int32_t kUnknown = 0;
  static constexpr int32_t kPadding = 1;
  static constexpr int kMinSize = 3;  ///< <UNK>, <PAD> and a character

  /// With a limit on the number of ids (--vocab N, at least kMinSize; 0: none) the rarest characters become <UNK>.
  explicit Tokenizer(const CharacterCounts& counts, int limit = 0);
  /// tokenizer.json: {"type": "char", "tokens": [..]}, the tokens in the order of their ids.
  static Tokenizer load(const PathAt& path);
  /// Of such a file's text; errors call it `file`.
  static Tokenizer parse(std::string_view text, const std::string& file);
  void save(const PathAt& path) const;
  /// This one with ids, after its own, for the characters that it does not know: by falling frequency, ties by code point.
  Tokenizer extended(const CharacterCounts& counts) const;

  /// Number of ids.
  int size() const { return static_cast<int>(tokens_.size()); }
  bool knows(char32_t character) const { return id_of(character) != kUnknown; }
  /// Characters that have no id become <UNK>; invalid UTF-8 throws as in check_utf8.
  std::vector<int32_t> encode(std::string_view text, std::string_view where) const;
  /// The text of one token, a whole character: U+FFFD for <UNK>, nothing for <PAD>. An id that is none throws an Error.
  std::string_view decode(int32_t id) const;
  std::string decode(std::span<const int32_t> ids) const;

  bool operator==(const Tokenizer&) const = default;

 private:
  explicit Tokenizer(const std::vector<char32_t>& characters);
  void add(const std::vector<char32_t>& characters);
  int32_t id_of(char32_t character) const { return character < ids_.size() ? ids_[character] : kUnknown; }

  std::vector<std::string> tokens_;  // by id
  std::vector<int32_t> ids_;         // by code point, up to the highest that has a token: at most 4.4 MB
};

/// Which characters of a text have no token, in words; "" where all have one.
std::string describe_unknown(const Tokenizer& tokenizer, const CharacterCounts& counts);

/// `--vocab auto`: rounded up to a multiple of 16, so that the output layer's rows fill whole vectors.
int padded_vocabulary(int size);

/// `--vocab`: "auto" gives 0, a number at least Tokenizer::kMinSize itself, nothing the configuration's. Throws a UsageError
/// for anything else.
int parse_vocabulary(std::string_view text, int configured);

}  // namespace mmrec
