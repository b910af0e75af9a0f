#include "train/data/split.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tests/common/expect_error.h"

namespace mmrec {
namespace {

using test::expect_error;

TEST(Split, TheOptionIsAutoOrAPart) {
  EXPECT_EQ(parse_validation_split("auto"), std::nullopt);
  EXPECT_EQ(parse_validation_split("0"), 0.);
  EXPECT_EQ(parse_validation_split("0.05"), 0.05);
  for (const char* bad : {"", "1", "-0.1", "nan", "0.1x", "Auto"})
    expect_error<UsageError>([&] { parse_validation_split(bad); },
                             {fmt::format("--val-split {}:", bad), "auto"});
}

TEST(Split, ThePartForValidationFollowsFromTheSize) {
  EXPECT_EQ(validation_part(std::nullopt, 0), 0.2);
  EXPECT_EQ(validation_part(std::nullopt, 9'999'999), 0.2);
  EXPECT_EQ(validation_part(std::nullopt, 10'000'000), 0.05);
  EXPECT_EQ(validation_part(0.3, 10'000'000), 0.3);
  EXPECT_EQ(validation_part(0., 5), 0);
  for (const double bad : {-0.1, 1., 2., std::numeric_limits<double>::quiet_NaN()})
    expect_error<UsageError>([&] { validation_part(bad, 5); },
                             {"validation split", fmt::format("{}", bad)});
}

TEST(Split, CutMovesToANearbyLineEnd) {
  const auto rest_after = [](const std::string& text, double val_split) {
    return text.substr(split_point(text, val_split));
  };
  const std::string line = std::string(99, 'x') + "\n";
  std::string lines;
  for (int i = 0; i < 100; ++i) lines += line;
  EXPECT_EQ(rest_after(lines, 0.2).size(), 2000u);
  EXPECT_EQ(rest_after(lines, 0.2005).size(), 2100u) << "never less than was asked for";
  EXPECT_EQ(rest_after(lines, 0), "");
  // In a long text at most a megabyte is searched.
  std::string text(120'000'000, 'x');
  text[58'999'999] = '\n';
  EXPECT_EQ(split_point(text, 0.5), 60'000'000u);
  text[59'000'000] = '\n';
  EXPECT_EQ(split_point(text, 0.5), 59'000'001u);
}

TEST(Split, ValidationDocumentsComeFromTheWholeCorpus) {
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
      EXPECT_NEAR(static_cast<double>(validation), part * static_cast<double>(all), 4097)
          << "within a document, after " << i;
    }
  }
}

/// Returns the part of the bytes that is for validation.
double validation_share(double val_split, const std::vector<size_t>& documents) {
  DocumentSplit split(val_split);
  double all = 0, validation = 0;
  for (const size_t bytes : documents) {
    if (split.next(bytes)) validation += static_cast<double>(bytes);
    all += static_cast<double>(bytes);
  }
  return validation / all;
}

TEST(Split, DocumentIsForValidationOnlyIfThatImprovesTheSplit) {
  EXPECT_LT(validation_share(0.2, {100, 10'000, 100, 100}), 0.03)
      << "with the long one it would be 97 %";
  EXPECT_LT(validation_share(0.2, {100, 100, 100, 30'000}), 0.2);
  EXPECT_NEAR(validation_share(0.2, {10'000, 100, 100, 100, 100}), 0.04, 0.01)
      << "all that there is";
  EXPECT_EQ(validation_share(0.05, {10, 10}), 0)
      << "half of it is further from a twentieth than nothing";
  EXPECT_NEAR(validation_share(0.4, {10, 10, 10}), 1. / 3, 1e-9);
  EXPECT_EQ(validation_share(0.9, {10}), 0) << "the first is for training";
  EXPECT_EQ(validation_share(0, {10, 10, 10, 10}), 0);
}

TEST(Split, WarnsOfASplitFarFromTheRequest) {
  const auto expect = [](std::optional<double> asked, int64_t train, int64_t validation,
                         Style style, std::initializer_list<std::string_view> parts) {
    const Note note = describe_split(asked, train, validation);
    EXPECT_EQ(note.style, style) << note.text;
    for (const std::string_view part : parts)
      EXPECT_NE(note.text.find(part), note.text.npos) << note.text;
  };
  expect(0.2, 8000, 2000, Style::kPlain, {"20.0 % of the bytes", "20.0 % asked"});
  expect(0.2, 8500, 1500, Style::kPlain, {"15.0 %"});
  expect(0.2, 400, 9600, Style::kWarning, {"96.0 %", "20.0 % asked", "far off", "--val-split"});
  expect(0.05, 9000, 1000, Style::kWarning, {"10.0 %", "far off"});
  expect(0.9, 10, 9990, Style::kWarning, {"99.9 %", "far off"});
  expect(0.2, 10'000, 0, Style::kWarning, {"there is no validation text"});
  expect(0., 10'000, 0, Style::kPlain, {"split: none", "as a whole"});
  expect(std::nullopt, 7500, 2500, Style::kPlain, {"25.0 %"});
}

}  // namespace
}  // namespace mmrec
