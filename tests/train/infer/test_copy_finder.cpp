#include "train/infer/copy_finder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "runtime/rng.h"

namespace mmrec {
namespace {

std::vector<Copy> copies(const std::vector<std::string>& texts, std::string_view other) {
  CopyFinder finder(texts);
  finder.read(other);
  return finder.longest();
}

/// The length of the longest common piece, by comparing everything with everything.
int64_t longest_common(std::string_view text, std::string_view other) {
  size_t longest = 0;
  for (size_t i = 0; i < text.size(); ++i)
    for (size_t j = 0; j < other.size(); ++j) {
      size_t n = 0;
      while (i + n < text.size() && j + n < other.size() && text[i + n] == other[j + n]) ++n;
      longest = std::max(longest, n);
    }
  return static_cast<int64_t>(longest);
}

TEST(CopyFinder, FindsPieceAndPlace) {
  const std::vector<Copy> found =
      copies({"To be or not to be", "zzz"}, "one\nthat is:\nnot to\nbe, or not to see\n");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].piece, " or not to ");
  EXPECT_EQ(found[0].length, 11);
  EXPECT_EQ(found[0].place, 23);
  EXPECT_EQ(found[0].line, 4);
  EXPECT_EQ(found[1].piece, "");
  EXPECT_EQ(found[1].length, 0);
}

TEST(CopyFinder, ALineIsThatOfThePiecesBegin) {
  const Copy copy = copies({"b\nc\nd"}, "a\nb\nc\nd\n").front();
  EXPECT_EQ(copy.piece, "b\nc\nd");
  EXPECT_EQ(copy.line, 2);
  EXPECT_EQ(copy.place, 2);
}

TEST(CopyFinder, PiecesOfTwoTextsAreNotOne) {
  const std::vector<Copy> found = copies({"abc", "def"}, "xabcdefx");
  EXPECT_EQ(found[0].piece, "abc");
  EXPECT_EQ(found[1].piece, "def");
}

TEST(CopyFinder, CharactersCountAndNotBytes) {
  // The last bytes of é and ĩ are the same.
  const Copy copy = copies({"Rosé für 20 €"}, "Rosĩ für 21 €, Ros").front();
  EXPECT_EQ(copy.piece, " für 2");
  EXPECT_EQ(copy.length, 6);
  EXPECT_EQ(copy.place, 4);
}

TEST(CopyFinder, WhatIsNoCharacterIsEqualToNothing) {
  const Copy copy = copies({"ab\uFFFDcde"}, "ab\uFFFDcde").front();
  EXPECT_EQ(copy.piece, "cde");
}

TEST(CopyFinder, EmptyTexts) {
  EXPECT_TRUE(copies({}, "abc").empty());
  EXPECT_EQ(copies({"", "ab"}, "abc")[0].length, 0);
  EXPECT_EQ(copies({"", "ab"}, "abc")[1].piece, "ab");
  EXPECT_EQ(copies({"ab"}, "")[0].length, 0);
}

TEST(CopyFinder, AgreesWithComparingEverything) {
  const Philox random(7, rng_stream(Stream::kSampling, 0));
  uint64_t draws = 0;
  const auto text_of = [&](int length, uint32_t letters) {
    std::string text;
    for (int i = 0; i < length; ++i)
      text += static_cast<char>('a' + random.below(draws++, letters));
    return text;
  };
  for (const uint32_t letters : {1u, 2u, 3u, 8u})
    for (int round = 0; round < 20; ++round) {
      std::vector<std::string> texts;
      for (const int length : {1, 9, 30, 60}) texts.push_back(text_of(length, letters));
      texts.push_back(texts.back().substr(20));  // pieces that texts have in common
      const std::string other = text_of(100, letters);
      // In pieces: a match goes on from one to the next.
      CopyFinder finder(texts);
      for (size_t place = 0; place < other.size(); place += 7)
        finder.read(std::string_view(other).substr(place, 7));
      const std::vector<Copy> found = finder.longest();
      for (size_t i = 0; i < texts.size(); ++i) {
        SCOPED_TRACE(texts[i] + " in " + other);
        EXPECT_EQ(found[i].length, longest_common(texts[i], other));
        EXPECT_NE(texts[i].find(found[i].piece), std::string::npos);
        EXPECT_EQ(other.substr(static_cast<size_t>(found[i].place), found[i].piece.size()),
                  found[i].piece);
      }
    }
}

}  // namespace
}  // namespace mmrec
