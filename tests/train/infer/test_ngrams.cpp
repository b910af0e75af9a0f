#include "train/infer/ngrams.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace mmrec {
namespace {

Variety of(const std::vector<std::string>& texts) { return variety_of(texts); }

TEST(Ngrams, AreCountedOverAllTexts) {
  // unigrams: the, cat, sat, mat, dog: 5 of 9; bigrams: "the cat" twice, 6 of 7
  const Variety variety = of({"the cat sat the mat", " the cat\n the\tdog "});
  EXPECT_EQ(variety.words, 9);
  EXPECT_DOUBLE_EQ(variety.distinct[0], 5. / 9);
  EXPECT_DOUBLE_EQ(variety.distinct[1], 6. / 7);
  EXPECT_DOUBLE_EQ(variety.distinct[2], 5. / 5);
  EXPECT_DOUBLE_EQ(variety.distinct[3], 3. / 3);
  EXPECT_DOUBLE_EQ(variety.repeated[0], (1. / 5 + 1. / 4) / 2);
  EXPECT_DOUBLE_EQ(variety.repeated[1], 0) << "they repeat only what another text has";
}

TEST(Ngrams, ALoopRepeatsItself) {
  const Variety variety = of({"to be to be to be to be to be"});
  EXPECT_DOUBLE_EQ(variety.repeated[0], 8. / 10);
  EXPECT_DOUBLE_EQ(variety.repeated[1], 7. / 9);
  EXPECT_DOUBLE_EQ(variety.repeated[3], 5. / 7);
  EXPECT_DOUBLE_EQ(variety.distinct[3], 2. / 7);
}

TEST(Ngrams, OfTextsThatAreTooShortThereAreNone) {
  const Variety variety = of({"one two", "", " \n"});
  EXPECT_EQ(variety.words, 2);
  EXPECT_DOUBLE_EQ(variety.distinct[1], 1);
  EXPECT_DOUBLE_EQ(variety.repeated[1], 0) << "of the text that has any";
  for (const size_t n : {3u, 4u}) {
    EXPECT_TRUE(std::isnan(variety.distinct[n - 1]));
    EXPECT_TRUE(std::isnan(variety.repeated[n - 1]));
  }
  EXPECT_TRUE(std::isnan(of({}).distinct[0]));
}

TEST(Ngrams, WordsDoNotRunTogether) { EXPECT_DOUBLE_EQ(of({"a bc", "ab c"}).distinct[1], 1); }

TEST(Ngrams, WordsOfOtherScripts) {
  EXPECT_EQ(of({"über Straße\u00a0naïve"}).words, 3);
  EXPECT_EQ(of({"我爱你。"}).words, 4) << "there are no spaces";
  EXPECT_EQ(of({"abc我def"}).words, 3);
  EXPECT_EQ(of({"나는 너를 사랑해"}).words, 3) << "Hangul has spaces";
  EXPECT_EQ(of({"漢字\u3000仮名"}).words, 4);
  EXPECT_EQ(of({"a\uFFFDb c"}).words, 2) << "unknown characters divide no word";
}

}  // namespace
}  // namespace mmrec
