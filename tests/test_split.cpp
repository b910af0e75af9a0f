#include "train/split.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "tests/expect_error.h"

namespace mmrec {
namespace {

using test::expect_error;

TEST(Split, TheOptionIsAutoOrAPart) {
  EXPECT_EQ(parse_validation_split("auto"), std::nullopt);
  EXPECT_EQ(parse_validation_split("0"), 0.);
  EXPECT_EQ(parse_validation_split("0.05"), 0.05);
  for (const char* bad : {"", "1", "-0.1", "nan", "0.1x", "Auto"})
    expect_error<UsageError>([&] { parse_validation_split(bad); }, {fmt::format("--val-split {}:", bad), "auto"});
}

TEST(Split, ThePartForValidationFollowsFromTheSize) {
  EXPECT_EQ(validation_part(std::nullopt, 0), 0.2);
  EXPECT_EQ(validation_part(std::nullopt, 9'999'999), 0.2);
  EXPECT_EQ(validation_part(std::nullopt, 10'000'000), 0.05);
  EXPECT_EQ(validation_part(0.3, 10'000'000), 0.3);
  EXPECT_EQ(validation_part(0., 5), 0);
  for (const double bad : {-0.1, 1., 2., std::numeric_limits<double>::quiet_NaN()})
    expect_error<UsageError>([&] { validation_part(bad, 5); }, {"validation split", fmt::format("{}", bad)});
}

TEST(Split, ALineEndIsLookedForNearby) {
  const auto rest_after = [](const std::string& text, double val_split) { return text.substr(split_point(text, val_split)); };
  const std::string line = std::string(99, 'x') + "\n";
  std::string lines;
  for (int i = 0; i < 100; ++i) lines += line;
  EXPECT_EQ(rest_after(lines, 0.2).size(), 2000u);
  EXPECT_EQ(rest_after(lines, 0.2005).size(), 2100u) << "never less than was asked for";
  EXPECT_EQ(rest_after(lines, 0), "");
  // Of a long text no more than a megabyte is looked through.
  std::string text(120'000'000, 'x');
  text[58'999'999] = '\n';
  EXPECT_EQ(split_point(text, 0.5), 60'000'000u);
  text[59'000'000] = '\n';
  EXPECT_EQ(split_point(text, 0.5), 59'000'001u);
}

TEST(Split, DocumentsForValidationComeFromAllOver) {
  for (const double part : {0.05, 0.2, 0.5}) {
    SCOPED_TRACE(part);
    DocumentSplit split(part);
    int64_t all = 0, validation = 0;
    uint32_t random = 1;
    for (int i = 0; i < 10'000; ++i) {
      random = random * 1664525 + 1013904223;
      const size_t bytes = 1 + (random >> 20);
      all += static_cast<int64_t>(bytes);
      if (split.next(bytes)) validation += static_cast<int64_t>(bytes);
      EXPECT_NEAR(static_cast<double>(validation), part * static_cast<double>(all), 4097) << "within a document, after " << i;
    }
  }
}

TEST(Split, OfTwoDocumentsTheSecondIsForValidation) {
  DocumentSplit split(0.05), none(0);
  EXPECT_FALSE(split.next(10));
  EXPECT_TRUE(split.next(10));
  EXPECT_FALSE(split.next(10));
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(none.next(10));
}

}  // namespace
}  // namespace mmrec
