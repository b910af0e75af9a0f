#include "train/data/tokenizer.h"

#include <utf8.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "support/atomic_file.h"
#include "support/error.h"
#include "support/parse_number.h"
#include "support/strict_json.h"
#include "train/data/piece_model.h"

namespace mmrec {
namespace {

constexpr const char* kUnknownName = "<UNK>";
constexpr const char* kPaddingName = "<PAD>";
constexpr int kSpecialTokens = 2;
constexpr const char* kBytesFile = "{\"type\":\"bytes\"}\n";
constexpr size_t kShownCharacters = 8;
constexpr size_t kLongestPart = size_t{1} << 16;  // bytes that are encoded as one
// Bytes that pieces are made of: more for each find nearly the same, and take longer.
constexpr int64_t kSampleForAPiece = 600, kLeastSample = 2'500'000, kMostSample = 20'000'000;
// A text from this size on, in bytes, is read in pieces: one id for so many bytes, unless there may
// be so few of them that they say no more than characters.
constexpr int64_t kShortestForPieces = 600'000, kBytesForAPiece = 900;
constexpr int kFewestPieces = 512;

bool is_ascii(char byte) { return static_cast<unsigned char>(byte) < 0x80; }

/// Returns the first non-ASCII byte from `place` on, or `end`. Tests eight bytes at a time, because
/// most texts are mostly ASCII.
const char* skip_ascii(const char* place, const char* end) {
  constexpr uint64_t kHighBits = 0x8080808080808080;
  for (uint64_t bytes; end - place >= 8; place += 8) {
    std::memcpy(&bytes, place, 8);
    if (bytes & kHighBits) break;
  }
  return std::find_if_not(place, end, is_ascii);
}

/// Returns whether a character is invalid only because the text ends too early.
bool is_cut_character(const char* place, const char* end) {
  try {
    utf8::next(place, end);
    return false;
  } catch (const utf8::not_enough_room&) {
    return true;
  } catch (const utf8::exception&) {
    return false;
  }
}

/// Returns a text's first line with its line end; of a long one the beginning.
std::string_view first_line(std::string_view text) {
  const std::string_view head = text.substr(0, kLongestPart);
  if (const size_t end = head.find('\n'); end != head.npos) return head.substr(0, end + 1);
  if (head.size() < kLongestPart) return head;
  return head.substr(0, head.size() - unfinished_bytes(head));
}

template <class Visit>
void for_each_line(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const std::string_view line = first_line(text);
    visit(line);
    text.remove_prefix(line.size());
  }
}

/// Returns lines from all over a text, enough for so many pieces.
std::vector<std::string> sample_of_lines(const TextSource& text, int64_t bytes, int pieces) {
  std::vector<std::string> lines;
  double passed = 0, taken = 0;
  const int64_t sample = std::clamp(kSampleForAPiece * pieces, kLeastSample, kMostSample);
  const double share =
      std::min(1., static_cast<double>(sample) / static_cast<double>(std::max<int64_t>(bytes, 1)));
  const auto pass = [&](std::string_view whole) {
    for_each_line(whole, [&](std::string_view line) {
      if (taken <= share * passed) {
        lines.emplace_back(line);
        taken += static_cast<double>(line.size());
      }
      passed += static_cast<double>(line.size());
    });
  };
  WholeLines whole;
  text([&](std::string_view piece) { pass(whole.append(piece)); });
  pass(whole.rest());
  return lines;
}

template <class Visit>
void for_each_character(std::string_view text, std::string_view where, Visit visit) {
  check_utf8(text, where);
  for (auto place = text.begin(); place != text.end();)
    visit(static_cast<char32_t>(utf8::unchecked::next(place)));
}

std::vector<char32_t> by_frequency(const CharacterCounts& counts, int limit) {
  if (limit != 0 && limit < Tokenizer::kMinSize)
    fail_usage("a vocabulary of {} is too small: {}, {} and a character make {}", limit,
               kUnknownName, kPaddingName, Tokenizer::kMinSize);
  std::vector<char32_t> characters;
  for (const auto& [character, count] : counts) characters.push_back(character);
  std::ranges::sort(characters, {}, [&](char32_t character) {
    return std::pair(-counts.at(character), character);
  });
  if (limit != 0)
    characters.resize(std::min(characters.size(), static_cast<size_t>(limit - kSpecialTokens)));
  return characters;
}

}  // namespace

void check_utf8(std::string_view text, std::string_view where, int64_t first_byte) {
  const char* const end = text.data() + text.size();
  for (const char* place = skip_ascii(text.data(), end); place != end;
       place = skip_ascii(place, end)) {
    const char* const run_end = std::find_if(place, end, is_ascii);
    const char* const bad = utf8::find_invalid(place, run_end);
    if (bad != run_end)
      fail("{}: byte {} (0x{:02x}) is not valid UTF-8{}convert the text to UTF-8", where,
           first_byte + (bad - text.data()), static_cast<uint8_t>(*bad),
           is_cut_character(bad, end)
               ? ", for the text's end cuts the character off; get the whole text, or "
               : "; ");
    place = run_end;
  }
}

size_t unfinished_bytes(std::string_view text) {
  constexpr size_t kLongest = 4;
  for (size_t back = 1; back <= std::min(kLongest - 1, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;  // continues a character
    const size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}

void count_characters(std::string_view text, std::string_view where, CharacterCounts& counts) {
  std::array<int64_t, 0x80> ascii{};  // avoids a hash lookup
  for_each_character(text, where, [&](char32_t character) {
    ++(character < ascii.size() ? ascii[character] : counts[character]);
  });
  for (char32_t character = 0; character < ascii.size(); ++character)
    if (ascii[character] > 0) counts[character] += ascii[character];
}

int64_t total(const CharacterCounts& counts) {
  int64_t sum = 0;
  for (const auto& [character, count] : counts) sum += count;
  return sum;
}

std::string name_of(TokenKind kind) {
  return kind == TokenKind::kCharacter ? "char" : kind == TokenKind::kByte ? "bytes" : "bpe";
}

const char* unit_of(TokenKind kind) {
  return kind == TokenKind::kCharacter ? "characters"
         : kind == TokenKind::kByte    ? "bytes"
                                       : "tokens";
}

TokenKind parse_token_kind(std::string_view name) {
  for (const TokenKind kind : {TokenKind::kCharacter, TokenKind::kByte, TokenKind::kPiece})
    if (name == name_of(kind)) return kind;
  fail_usage("there is no tokenizer '{}'; there are char, bytes and bpe", name);
}

Tokenizer::Tokenizer(const CharacterCounts& counts, int limit)
    : Tokenizer(by_frequency(counts, limit)) {}

Tokenizer::Tokenizer(const std::vector<char32_t>& characters)
    : tokens_{std::string(kReplacementCharacter), ""} {
  add(characters);
}

Tokenizer::Tokenizer(PieceModel pieces)
    : kind_(TokenKind::kPiece),
      tokens_(pieces.tokens()),
      pieces_(std::make_shared<const PieceModel>(std::move(pieces))) {
  tokens_[kUnknown] = kReplacementCharacter;
}

Tokenizer Tokenizer::of_bytes(int limit) {
  if (limit != 0 && limit < kByteSize)
    fail_usage("a vocabulary of {} is too small: {}, {} and 256 bytes make {}", limit, kUnknownName,
               kPaddingName, kByteSize);
  Tokenizer tokenizer((CharacterCounts()));
  tokenizer.kind_ = TokenKind::kByte;
  for (int byte = 0; byte < 256; ++byte) tokenizer.tokens_.emplace_back(1, static_cast<char>(byte));
  return tokenizer;
}

Tokenizer Tokenizer::of_pieces(const TextSource& text, int64_t bytes, int limit,
                               const std::function<void()>& check_stop) {
  const int most = limit == 0 ? kDefaultPieceSize : limit;
  std::string model = PieceModel::train(sample_of_lines(text, bytes, most), most, check_stop);
  return Tokenizer(PieceModel(std::move(model), "the new tokenizer"));
}

TokenChoice choose_tokens(int64_t bytes, int limit) {
  int pieces =
      static_cast<int>(std::min<int64_t>(bytes / kBytesForAPiece, Tokenizer::kDefaultPieceSize));
  if (limit > 0) pieces = std::min(pieces, limit);
  if (bytes < kShortestForPieces || pieces < kFewestPieces) return {TokenKind::kCharacter, limit};
  return {TokenKind::kPiece, pieces};
}

Tokenizer make_tokenizer(TokenKind kind, const CharacterCounts& counts, const TextSource& text,
                         int64_t bytes, int limit, const std::function<void()>& check_stop) {
  switch (kind) {
    case TokenKind::kByte:
      return Tokenizer::of_bytes(limit);
    case TokenKind::kPiece:
      return Tokenizer::of_pieces(text, bytes, limit, check_stop);
    case TokenKind::kCharacter:
      break;
  }
  return Tokenizer(counts, limit);
}

void Tokenizer::add(const std::vector<char32_t>& characters) {
  if (!characters.empty())
    ids_.resize(std::max(ids_.size(), std::ranges::max(characters) + size_t{1}), kUnknown);
  for (char32_t character : characters) {
    ids_[character] = size();
    utf8::append(character, std::back_inserter(tokens_.emplace_back()));
  }
}

Tokenizer Tokenizer::load(const PathAt& path) {
  return parse(read_file(path), path.shown().string());
}

Tokenizer Tokenizer::parse(std::string_view content, const std::string& file) {
  if (file.ends_with(".model")) return Tokenizer(PieceModel(std::string(content), file));
  const nlohmann::json json = parse_json(content, file, 2);
  if (json == nlohmann::json::object({{"type", "bytes"}})) return of_bytes();
  if (!json.is_object() || json.size() != 2 || !json.contains("type") || !json.contains("tokens"))
    fail("{}: expected an object of \"type\" and \"tokens\"", file);
  if (json["type"] != "char")
    fail("{}: a tokenizer of type {} is not supported, \"char\" and \"bytes\" without tokens are",
         file, json["type"].dump());
  const nlohmann::json& tokens = json["tokens"];
  if (!tokens.is_array() || tokens.size() < kSpecialTokens || tokens[kUnknown] != kUnknownName ||
      tokens[kPadding] != kPaddingName)
    fail("{}: \"tokens\" does not start with {} and {}", file, kUnknownName, kPaddingName);

  std::vector<char32_t> characters;
  for (size_t id = kSpecialTokens; id < tokens.size(); ++id) {
    const std::string where = fmt::format("{}: token {}", file, id);
    if (!tokens[id].is_string()) fail("{} is not a string", where);
    std::vector<char32_t> of_token;
    for_each_character(tokens[id].get_ref<const std::string&>(), where,
                       [&](char32_t character) { of_token.push_back(character); });
    if (of_token.size() != 1) fail("{} is not one character but {}", where, of_token.size());
    characters.push_back(of_token.front());
  }
  Tokenizer tokenizer(characters);
  for (int id = kSpecialTokens; id < tokenizer.size(); ++id)
    if (const int last = tokenizer.ids_[characters[id - kSpecialTokens]]; last != id)
      fail("{}: tokens {} and {} are the same character", file, id, last);
  return tokenizer;
}

const char* Tokenizer::file_name(TokenKind kind) {
  return kFileNames[kind == TokenKind::kPiece ? 1 : 0];
}

const char* Tokenizer::file_name() const { return file_name(kind_); }

std::string Tokenizer::content() const {
  if (kind_ == TokenKind::kPiece) return pieces_->file();
  if (kind_ == TokenKind::kByte) return kBytesFile;
  nlohmann::ordered_json json;
  json["type"] = "char";
  json["tokens"] = tokens_;
  json["tokens"][kUnknown] = kUnknownName;
  json["tokens"][kPadding] = kPaddingName;
  return json.dump() + "\n";
}

void Tokenizer::save(const PathAt& path) const { write_file_atomically(path, content()); }

Tokenizer Tokenizer::extended(const CharacterCounts& counts) const {
  if (kind_ != TokenKind::kCharacter)
    fail_usage("--extend-vocab: nothing is unknown to a tokenizer of {}, leave the option out",
               name_of(kind_));
  CharacterCounts unknown;
  for (const auto& [character, count] : counts)
    if (!knows(character)) unknown.emplace(character, count);
  Tokenizer result = *this;
  result.add(by_frequency(unknown, 0));
  return result;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, std::string_view where) const {
  std::vector<int32_t> ids;
  if (kind_ == TokenKind::kPiece) {
    for_each_line(text, [&](std::string_view line) { pieces_->encode(line, ids); });
    return ids;
  }
  ids.reserve(text.size());
  if (kind_ == TokenKind::kByte)
    for (const char byte : text) ids.push_back(kByteSize - 256 + static_cast<unsigned char>(byte));
  else
    for_each_character(text, where, [&](char32_t character) { ids.push_back(id_of(character)); });
  return ids;
}

void Tokenizer::check(std::span<const int32_t> ids) const {
  for (size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || ids[i] >= size())
      fail_usage("id {} of token {} is not one of the vocabulary, 0 .. {}", ids[i], i, size() - 1);
}

std::string_view Tokenizer::decode(int32_t id) const {
  if (id < 0 || id >= size())
    fail("token id {} is outside the tokenizer's 0 .. {}", id, size() - 1);
  return tokens_[static_cast<size_t>(id)];
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (int32_t id : ids) text += decode(id);
  return text;
}

std::string WholeLines::append(std::string_view piece) {
  const size_t line_end = piece.rfind('\n');
  size_t end = line_end == piece.npos ? 0 : held_.size() + line_end + 1;
  held_ += piece;
  while (held_.size() - end >= kLongestPart)
    end += first_line(std::string_view(held_).substr(end)).size();
  std::string whole = held_.substr(0, end);
  held_.erase(0, end);
  return whole;
}

std::string WholeLines::rest() { return std::exchange(held_, ""); }

std::string describe_unknown(const Tokenizer& tokenizer, const CharacterCounts& counts) {
  // (-occurrences, character): most frequent first
  std::vector<std::pair<int64_t, char32_t>> unknown;
  int64_t occurrences = 0;
  for (const auto& [character, count] : counts) {
    if (tokenizer.knows(character)) continue;
    occurrences += count;
    unknown.emplace_back(-count, character);
  }
  if (unknown.empty()) return "";
  const int64_t all = total(counts);
  std::ranges::sort(unknown);
  std::string shown;
  for (size_t i = 0; i < std::min(unknown.size(), kShownCharacters); ++i) {
    const char32_t character = unknown[i].second;
    const bool printable = character > 0x20 && (character < 0x7F || character > 0xA0);
    shown += i > 0 ? ", " : "";
    if (printable) utf8::append(character, std::back_inserter(shown));
    shown += fmt::format("{}U+{:04X} ({})", printable ? " " : "", static_cast<uint32_t>(character),
                         -unknown[i].first);
  }
  return fmt::format(
      "{} of {} characters ({:.2f} %) have no token and are read as <UNK>: {} different ones, {}{}",
      occurrences, all, 100. * static_cast<double>(occurrences) / static_cast<double>(all),
      unknown.size(), shown, unknown.size() > kShownCharacters ? ", .." : "");
}

int padded_vocabulary(int size) { return (size + 15) / 16 * 16; }

int parse_vocabulary(std::string_view text, int configured) {
  if (text.empty()) return configured;
  if (text == "auto") return 0;
  const int size = parse_number<int>(text).value_or(0);
  if (size < Tokenizer::kMinSize)
    fail_usage("--vocab {}: expected auto or a number of at least {} and at most {}", text,
               Tokenizer::kMinSize, INT_MAX);
  return size;
}

}  // namespace mmrec
