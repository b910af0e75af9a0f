#include "train/strict_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/expect_error.h"

namespace mmrec {
namespace {

using test::expect_error;

TEST(StrictJson, ParsesWhatIsPlain) {
  const nlohmann::json json = parse_json(R"({"a": [1, 2], "b": {"a": null}, "c": {"a": "\u00e9"}})", "file");
  EXPECT_EQ(json["a"][1], 2);
  EXPECT_EQ(json["c"]["a"], "é");
}

TEST(StrictJson, NamesTheFileAndThePlace) {
  expect_error([] { parse_json("{\"a\": }", "state.json"); }, {"state.json", "line 1, column 7"});
  expect_error([] { parse_json("{} {}", "state.json"); }, {"state.json", "column 4"});
  expect_error([] { parse_json("", "state.json"); }, {"state.json"});
  expect_error([] { parse_json("\"\xff\"", "state.json"); }, {"state.json"});
}

TEST(StrictJson, RefusesKeysThatOccurTwice) {
  expect_error([] { parse_json(R"({"a": 1, "b": 2, "a": 3})", "file"); }, {"file", "'a' occurs twice"});
  expect_error([] { parse_json(R"([{"x": {"b": 1, "\u0062": 2}}])", "file"); }, {"'b' occurs twice"});
}

TEST(StrictJson, RefusesDeepNesting) {
  EXPECT_NO_THROW(parse_json("[[1]]", "file", 2));
  expect_error([] { parse_json("[[[1]]]", "file", 2); }, {"file", "deeper than 2 levels"});
  expect_error([] { parse_json(std::string(1'000'000, '['), "file"); }, {"deeper than 8 levels"});
}

}  // namespace
}  // namespace mmrec
