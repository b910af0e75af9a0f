#include "support/strict_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/common/expect_error.h"

namespace mmrec {
namespace {

using test::expect_error;

TEST(StrictJson, ParsesPlainJson) {
  const nlohmann::json json =
      parse_json(R"({"a": [1, 2], "b": {"a": null}, "c": {"a": "\u00e9"}})", "file");
  EXPECT_EQ(json["a"][1], 2);
  EXPECT_EQ(json["c"]["a"], "é");
}

TEST(StrictJson, NamesTheFileAndThePlace) {
  expect_error([] { parse_json("{\"a\": }", "state.json"); },
               {"state.json: not valid JSON at line 1, column 7"});
  expect_error([] { parse_json("{\n\n \"a\": ?}", "state.json"); }, {"line 3, column 7"});
  expect_error([] { parse_json("[1e400]", "state.json"); },
               {"state.json: not valid JSON: a number is larger than a double can be"});
  expect_error([] { parse_json("{} {}", "state.json"); }, {"state.json", "column 4"});
  expect_error([] { parse_json("", "state.json"); }, {"state.json"});
  expect_error([] { parse_json("\"\xff\"", "state.json"); }, {"state.json"});
}

TEST(StrictJson, RefusesKeysThatOccurTwice) {
  expect_error([] { parse_json(R"({"a": 1, "b": 2, "a": 3})", "file"); },
               {"file", "'a' occurs twice"});
  expect_error([] { parse_json(R"([{"x": {"b": 1, "\u0062": 2}}])", "file"); },
               {"'b' occurs twice"});
}

TEST(StrictJson, RefusesDeepNesting) {
  EXPECT_NO_THROW(parse_json("[[1]]", "file", 2));
  expect_error([] { parse_json("[[[1]]]", "file", 2); }, {"file", "deeper than 2 levels"});
  expect_error([] { parse_json(std::string(1'000'000, '['), "file"); }, {"deeper than 8 levels"});
}

TEST(StrictJson, DescribesWhatChanged) {
  const nlohmann::json before = {{"dim", 128}, {"lr", 0.1f}, {"steps", 5}},
                       after = {{"dim", 64}, {"lr", 0.1f}, {"memory", "learned"}};
  EXPECT_EQ(describe_changes(before, after),
            "dim 128 -> 64, memory none -> learned, steps 5 -> none");
  EXPECT_EQ(describe_changes(before, before), "");
}

TEST(StrictJson, AcceptsOnlyWholeNumbers) {
  const nlohmann::json numbers =
      parse_json("[0, 7, 18446744073709551615, -1, 7.0, 1e3, 1e300, \"7\", true, null]", "file");
  EXPECT_EQ(whole_number(numbers[0]), 0u);
  EXPECT_EQ(whole_number(numbers[1], 7), 7u);
  EXPECT_EQ(whole_number(numbers[1], 6), std::nullopt);
  EXPECT_EQ(whole_number(numbers[2], UINT64_MAX), UINT64_MAX);
  EXPECT_EQ(whole_number(numbers[2]), std::nullopt);
  for (size_t i = 3; i < numbers.size(); ++i)
    EXPECT_EQ(whole_number(numbers[i]), std::nullopt) << numbers[i];
}

}  // namespace
}  // namespace mmrec
