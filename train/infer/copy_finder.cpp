#include "train/infer/copy_finder.h"

#include <utf8.h>

#include <algorithm>
#include <iterator>
#include <numeric>

#include "train/infer/whole_characters.h"

namespace mmrec {

namespace {
constexpr char32_t kNoCharacter = 0xFFFD;

/// Where a state's transition with a character is, or belongs.
auto find_next(auto& next, char32_t character) {
  return std::ranges::lower_bound(next, character, {},
                                  [](const auto& entry) { return entry.first; });
}
}  // namespace

CopyFinder::CopyFinder(std::span<const std::string> texts) : states_(1) {
  int32_t last = 0;
  for (const std::string& text : texts) {
    std::u32string& characters = texts_.emplace_back();
    utf8::utf8to32(text.begin(), text.end(), std::back_inserter(characters));
    std::vector<int32_t>& prefixes = prefixes_.emplace_back();
    for (const char32_t character : characters) prefixes.push_back(last = extend(last, character));
    last = extend(last, kNoCharacter);  // no match goes on from one text to the next
  }
}

int32_t CopyFinder::next(int32_t state, char32_t character) const {
  const auto& all = states_[static_cast<size_t>(state)].next;
  const auto found = find_next(all, character);
  return found == all.end() || found->first != character ? -1 : found->second;
}

void CopyFinder::set_next(int32_t state, char32_t character, int32_t to) {
  auto& all = states_[static_cast<size_t>(state)].next;
  const auto found = find_next(all, character);
  if (found == all.end() || found->first != character)
    all.insert(found, {character, to});
  else
    found->second = to;
}

int32_t CopyFinder::extend(int32_t last, char32_t character) {
  const auto at = [&](int32_t state) -> State& { return states_[static_cast<size_t>(state)]; };
  const auto add = [&](State state) {
    states_.push_back(std::move(state));
    return static_cast<int32_t>(states_.size() - 1);
  };
  const int32_t whole = add({.length = at(last).length + 1});
  int32_t end = last;
  for (; end != -1 && next(end, character) == -1; end = at(end).link)
    set_next(end, character, whole);
  if (end == -1) {
    at(whole).link = 0;
    return whole;
  }
  const int32_t known = next(end, character);
  if (at(known).length == at(end).length + 1) {
    at(whole).link = known;
    return whole;
  }
  // Only the shorter members of `known` are ends of the new whole: they become a state of their
  // own.
  State shorter = at(known);
  shorter.length = at(end).length + 1;
  const int32_t split = add(std::move(shorter));
  for (; end != -1 && next(end, character) == known; end = at(end).link)
    set_next(end, character, split);
  at(known).link = at(whole).link = split;
  return whole;
}

void CopyFinder::read(std::string_view piece) {
  for (auto place = piece.begin(); place != piece.end();) {
    const auto character = static_cast<char32_t>(utf8::unchecked::next(place));
    ++current_.end;
    if (character == U'\n') ++current_.lines;
    int32_t to = -1;
    if (character != kNoCharacter)
      while ((to = next(state_, character)) == -1 && state_ != 0) {
        state_ = states_[static_cast<size_t>(state_)].link;
        current_.length = states_[static_cast<size_t>(state_)].length;
      }
    if (to == -1) {
      state_ = 0;
      current_.length = 0;
      continue;
    }
    state_ = to;
    ++current_.length;
    Match& longest = states_[static_cast<size_t>(to)].match;
    if (current_.length > longest.length) longest = current_;
  }
}

void CopyFinder::read(const Tokens& tokens, const Tokenizer& tokenizer,
                      const std::function<void(int64_t)>& observe) {
  constexpr size_t kPiece = size_t{1} << 16;  // bytes
  WholeCharacters characters;
  std::string piece;
  int64_t count = 0;
  tokens.for_each([&](int32_t id) {
    ++count;
    piece += tokenizer.decode(id);
    if (piece.size() < kPiece) return;
    read(characters.pass(piece));
    piece.clear();
    observe(count);
  });
  read(characters.pass(piece));
}

std::vector<Copy> CopyFinder::longest() const {
  std::vector<Match> matches;
  for (const State& state : states_) matches.push_back(state.match);
  std::vector<size_t> by_length(states_.size());
  std::iota(by_length.begin(), by_length.end(), size_t{0});
  std::ranges::sort(by_length, {}, [&](size_t state) { return states_[state].length; });
  // A match in a state is one of all shorter ends, too: those of the states along its links.
  for (size_t i = by_length.size(); i-- > 1;) {
    const State& state = states_[by_length[i]];
    const Match& match = matches[by_length[i]];
    Match& of_link = matches[static_cast<size_t>(state.link)];
    const int64_t all_of_link = states_[static_cast<size_t>(state.link)].length;
    if (match.length > 0 && of_link.length < all_of_link)
      of_link = {all_of_link, match.end, match.lines};
  }
  // Without a match of its own, the longest end that has one counts.
  for (const size_t state : by_length)
    if (state != 0 && matches[state].length == 0)
      matches[state] = matches[static_cast<size_t>(states_[state].link)];

  std::vector<Copy> copies;
  for (size_t text = 0; text < texts_.size(); ++text) {
    Match longest;
    size_t end = 0;  // in the text
    for (size_t i = 0; i < prefixes_[text].size(); ++i)
      if (const Match& match = matches[static_cast<size_t>(prefixes_[text][i])];
          match.length > longest.length) {
        longest = match;
        end = i + 1;
      }
    const auto length = static_cast<size_t>(longest.length);
    const std::u32string piece = texts_[text].substr(end - length, length);
    Copy& copy = copies.emplace_back();
    utf8::utf32to8(piece.begin(), piece.end(), std::back_inserter(copy.piece));
    copy.length = longest.length;
    copy.place = longest.end - longest.length;
    copy.line = longest.lines - std::ranges::count(piece, U'\n') + 1;
  }
  return copies;
}

}  // namespace mmrec
