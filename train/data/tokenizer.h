#pragma once

#include <cstdint>
#include <functional>
#include <memory>
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

/// Returns the number of bytes at the end that begin an unfinished character. Does not check that
/// they are valid UTF-8.
size_t unfinished_bytes(std::string_view text);

/// Decoded text of an unknown character.
constexpr std::string_view kReplacementCharacter = "\uFFFD";

/// Number of occurrences of each character (code point).
using CharacterCounts = std::unordered_map<char32_t, int64_t>;
/// Adds a UTF-8 text's characters to the counts. A long text may be passed in pieces that end
/// between characters.
void count_characters(std::string_view text, std::string_view where, CharacterCounts& counts);
/// Returns the number of all characters.
int64_t total(const CharacterCounts& counts);

/// What a token is: a character, a byte, or a frequent sequence of characters (byte pair encoding
/// by SentencePiece, with tokens of bytes for what is rare).
enum class TokenKind { kCharacter, kByte, kPiece };
/// Returns its name in options and files: char, bytes or bpe.
std::string name_of(TokenKind kind);
/// What its tokens are called in messages: characters, bytes or tokens.
const char* unit_of(TokenKind kind);
/// Returns the kind of a name. Throws a UsageError for another name.
TokenKind parse_token_kind(std::string_view name);

/// Passes a UTF-8 text on in pieces that end between characters.
using TextSource = std::function<void(const std::function<void(std::string_view piece)>&)>;

class PieceModel;

/// Turns texts into ids and back. Id 0 is <UNK>, 1 is <PAD>. Then come, of characters, all by
/// descending frequency, ties by code point; of bytes, all 256; of pieces, all bytes and then the
/// pieces.
class Tokenizer {
 public:
  static constexpr int32_t kUnknown = 0;
  static constexpr int32_t kPadding = 1;
  static constexpr int kMinSize = 3;              ///< <UNK>, <PAD> and a character
  static constexpr int kByteSize = 2 + 256;       ///< ids of bytes
  static constexpr int kDefaultPieceSize = 4096;  ///< most ids of pieces without a limit
  /// Names of a tokenizer's file: of characters and bytes, and of pieces.
  static constexpr const char* kFileNames[] = {"tokenizer.json", "tokenizer.model"};

  /// Of characters. limit: maximum number of ids (--vocab N, at least kMinSize; 0: none). The
  /// rarest characters beyond it become <UNK>.
  explicit Tokenizer(const CharacterCounts& counts, int limit = 0);
  /// Of bytes. A limit (0: none) must have room for all. Throws a UsageError otherwise.
  static Tokenizer of_bytes(int limit = 0);
  /// Of pieces, at most `limit` ids (0: kDefaultPieceSize). They are found in lines from all over
  /// a text of `bytes` bytes: 600 bytes for a piece, but 2.5 MB at least and 20 MB at most. Equal
  /// texts give equal tokenizers. Throws a UsageError if the limit is too small. check_stop: see
  /// PieceModel::train().
  static Tokenizer of_pieces(const TextSource& text, int64_t bytes, int limit = 0,
                             const std::function<void()>& check_stop = {});
  /// Reads a tokenizer's file. tokenizer.json is {"type": "char", "tokens": [..]}, tokens in the
  /// order of their ids, or {"type": "bytes"}; a name in .model is one of SentencePiece.
  static Tokenizer load(const PathAt& path);
  /// Parses such a file's content. `file` is its name, also in errors.
  static Tokenizer parse(std::string_view content, const std::string& file);
  /// Returns the name that the file has in a folder, one of kFileNames.
  const char* file_name() const;
  static const char* file_name(TokenKind kind);
  void save(const PathAt& path) const;
  /// Returns what save() writes.
  std::string content() const;
  /// Returns a copy with additional ids, after the existing ones, for the unknown characters: by
  /// descending frequency, ties by code point. Of characters only, throws a UsageError for others.
  Tokenizer extended(const CharacterCounts& counts) const;

  TokenKind kind() const { return kind_; }
  const char* unit() const { return unit_of(kind_); }
  /// Number of ids.
  int size() const { return static_cast<int>(tokens_.size()); }
  bool knows(char32_t character) const {
    return kind_ != TokenKind::kCharacter || id_of(character) != kUnknown;
  }
  /// Throws a UsageError if one of the ids is none of the vocabulary.
  void check(std::span<const int32_t> ids) const;
  /// Returns the ids of a text, the same if the parts that WholeLines makes of it are encoded one
  /// after the other. Of characters, those without an id become <UNK>, and invalid UTF-8 throws as
  /// check_utf8 does; the other kinds take any bytes and decode() gives them back.
  std::vector<int32_t> encode(std::string_view text, std::string_view where) const;
  /// Returns the text of a token: U+FFFD for <UNK>, "" for <PAD>. Of characters it is one whole
  /// character, else it may be a part of one. Throws an Error for an invalid id.
  std::string_view decode(int32_t id) const;
  std::string decode(std::span<const int32_t> ids) const;

  bool operator==(const Tokenizer& other) const {
    return kind_ == other.kind_ && content() == other.content();
  }

 private:
  explicit Tokenizer(const std::vector<char32_t>& characters);
  explicit Tokenizer(PieceModel pieces);
  void add(const std::vector<char32_t>& characters);
  int32_t id_of(char32_t character) const {
    return character < ids_.size() ? ids_[character] : kUnknown;
  }

  TokenKind kind_ = TokenKind::kCharacter;
  std::vector<std::string> tokens_;  // by id
  // of characters: by code point, up to the highest with a token: at most 4.4 MB
  std::vector<int32_t> ids_;
  std::shared_ptr<const PieceModel> pieces_;
};

/// What a token is, and how many there may be (0: see make_tokenizer()).
struct TokenChoice {
  TokenKind kind;
  int limit;
};
/// Returns the tokens for a text of which `bytes` bytes are trained on, where nobody says which:
/// pieces where there is enough text to find them in and room for them, else characters. `limit`:
/// as of make_tokenizer().
TokenChoice choose_tokens(int64_t bytes, int limit);

/// Makes a tokenizer for a text of `bytes` bytes: of all `counts` for characters, of `text` for
/// pieces. check_stop: see PieceModel::train().
Tokenizer make_tokenizer(TokenKind kind, const CharacterCounts& counts, const TextSource& text,
                         int64_t bytes, int limit, const std::function<void()>& check_stop = {});

/// Cuts a text that comes in pieces into parts whose ids do not depend on what follows them: at
/// line ends, and lines of 64 KiB and more between two characters.
class WholeLines {
 public:
  /// Takes the next piece. Returns what has become complete.
  std::string append(std::string_view piece);
  /// Returns the rest, at the end of the text.
  std::string rest();

 private:
  std::string held_;
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
