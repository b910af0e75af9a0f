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

namespace mmrec {
namespace {

constexpr const char* kUnknownName = "<UNK>";
constexpr const char* kPaddingName = "<PAD>";
constexpr int kSpecialTokens = 2;
constexpr size_t kShownCharacters = 8;

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

void count_characters(std::string_view text, std::string_view where, CharacterCounts& counts) {
  std::array<int64_t, 0x80> ascii{};  // avoids a hash lookup
  for_each_character(text, where, [&](char32_t character) {
    ++(character < ascii.size() ? ascii[character] : counts[character]);
  });
  for (char32_t character = 0; character < ascii.size(); ++character)
    if (ascii[character] > 0) counts[character] += ascii[character];
}

Tokenizer::Tokenizer(const CharacterCounts& counts, int limit)
    : Tokenizer(by_frequency(counts, limit)) {}

Tokenizer::Tokenizer(const std::vector<char32_t>& characters)
    : tokens_{std::string(kReplacementCharacter), ""} {
  add(characters);
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

Tokenizer Tokenizer::parse(std::string_view text, const std::string& file) {
  const nlohmann::json json = parse_json(text, file, 2);
  if (!json.is_object() || json.size() != 2 || !json.contains("type") || !json.contains("tokens"))
    fail("{}: expected an object of \"type\" and \"tokens\"", file);
  if (json["type"] != "char")
    fail("{}: a tokenizer of type {} is not supported, only \"char\" is", file,
         json["type"].dump());
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

void Tokenizer::save(const PathAt& path) const {
  nlohmann::ordered_json json;
  json["type"] = "char";
  json["tokens"] = tokens_;
  json["tokens"][kUnknown] = kUnknownName;
  json["tokens"][kPadding] = kPaddingName;
  write_file_atomically(path, json.dump() + "\n");
}

Tokenizer Tokenizer::extended(const CharacterCounts& counts) const {
  CharacterCounts unknown;
  for (const auto& [character, count] : counts)
    if (!knows(character)) unknown.emplace(character, count);
  Tokenizer result = *this;
  result.add(by_frequency(unknown, 0));
  return result;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, std::string_view where) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size());
  for_each_character(text, where, [&](char32_t character) { ids.push_back(id_of(character)); });
  return ids;
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

std::string describe_unknown(const Tokenizer& tokenizer, const CharacterCounts& counts) {
  // (-occurrences, character): most frequent first
  std::vector<std::pair<int64_t, char32_t>> unknown;
  int64_t occurrences = 0, all = 0;
  for (const auto& [character, count] : counts) {
    all += count;
    if (tokenizer.knows(character)) continue;
    occurrences += count;
    unknown.emplace_back(-count, character);
  }
  if (unknown.empty()) return "";
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
