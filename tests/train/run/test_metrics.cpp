#include "train/run/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "support/atomic_file.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_directory.h"

namespace mmrec {
namespace {

using test::expect_error;
using test::TemporaryDirectory;

MetricsRow training_row(int64_t step) {
  return {.step = step,
          .epoch = 1,
          .split = "train",
          .loss = 1.5,
          .accuracy = 0.25,
          .lr = 3e-4,
          .grad_norm = 0.1,
          .tokens = 512 * step,
          .tokens_per_second = 12345.5,
          .seconds = 0.5};
}

TEST(Metrics, ARowHasExactlyTheDocumentedFields) {
  const TemporaryDirectory directory;
  MetricsRow row = training_row(7);
  row.loss = 0;
  MetricsFile(directory / "metrics.jsonl").append(row);
  EXPECT_EQ(read_file(directory / "metrics.jsonl"),
            "{\"step\":7,\"epoch\":1,\"split\":\"train\",\"loss\":0.0,\"perplexity\":1.0,"
            "\"accuracy\":0.25,\"lr\":0.0003,\"grad_norm\":0.1,"
            "\"tokens\":3584,\"tokens_per_second\":12345.5,\"seconds\":0.5}\n");
}

TEST(Metrics, OptionalFieldsAreWrittenWhereTheyApply) {
  const TemporaryDirectory directory;
  MetricsRow row = training_row(7);
  row.aux_loss = 0.5;
  row.max_factor = 1.125;
  row.max_state = 3.5;
  MetricsFile(directory / "metrics.jsonl").append(row);
  EXPECT_NE(read_file(directory / "metrics.jsonl")
                .find("\"aux_loss\":0.5,\"max_factor\":1.125,\"max_state\":3.5}"),
            std::string::npos);
  const MetricsRow back = read_metrics(directory / "metrics.jsonl").at(0);
  EXPECT_EQ(back.aux_loss, 0.5);
  EXPECT_EQ(back.max_factor, 1.125);
  EXPECT_EQ(back.max_state, 3.5);
  EXPECT_TRUE(std::isnan(back.loss_in_trained_window));
}

TEST(Metrics, NonFiniteIsNull) {
  const TemporaryDirectory directory;
  MetricsRow row = training_row(1);
  row.loss = 1000;  // its perplexity is infinite
  row.grad_norm = std::numeric_limits<double>::infinity();
  row.lr = MetricsRow::kNone;
  MetricsFile(directory / "metrics.jsonl").append(row);
  const nlohmann::json json = nlohmann::json::parse(read_file(directory / "metrics.jsonl"));
  EXPECT_EQ(json["loss"], 1000);
  for (const char* field : {"perplexity", "grad_norm", "lr"})
    EXPECT_TRUE(json[field].is_null()) << field;
  const MetricsRow back = read_metrics(directory / "metrics.jsonl").at(0);
  EXPECT_TRUE(std::isnan(back.lr));
  EXPECT_TRUE(std::isnan(back.grad_norm));
  EXPECT_EQ(back.loss, 1000);
}

TEST(Metrics, ReadsBackWhatItWrote) {
  const TemporaryDirectory directory;
  MetricsRow row = training_row(3);
  row.split = "val";
  row.loss = 1.0 / 3;
  row.tokens = int64_t{1} << 60;
  row.epoch = 1'000'000'000'000;
  {
    MetricsFile file(directory / "metrics.jsonl");
    file.append(training_row(2));
    EXPECT_EQ(read_metrics(directory / "metrics.jsonl").size(), 1u)
        << "a row is there as soon as it is written";
  }
  MetricsFile(directory / "metrics.jsonl").append(row);
  const std::vector<MetricsRow> rows = read_metrics(directory / "metrics.jsonl");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[1].step, 3);
  EXPECT_EQ(rows[1].epoch, 1'000'000'000'000);
  EXPECT_EQ(rows[1].split, "val");
  EXPECT_EQ(rows[1].loss, 1.0 / 3);
  EXPECT_EQ(rows[1].perplexity(), std::exp(1.0 / 3));
  EXPECT_EQ(rows[1].accuracy, 0.25);
  EXPECT_EQ(rows[1].lr, 3e-4);
  EXPECT_EQ(rows[1].grad_norm, 0.1);
  EXPECT_EQ(rows[1].tokens, int64_t{1} << 60);
  EXPECT_EQ(rows[1].tokens_per_second, 12345.5);
  EXPECT_EQ(rows[1].seconds, 0.5);
}

TEST(Metrics, ResumingDropsLaterAndIncompleteRows) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "metrics.jsonl";
  EXPECT_NO_THROW(drop_metrics_after(path, 5, true));
  MetricsFile file(path);
  for (int step = 1; step <= 4; ++step) file.append(training_row(step));
  const std::string all = read_file(path);
  write_file_atomically(path, all + "{\"step\":5,\"ep");
  drop_metrics_after(path, 4, true);
  EXPECT_EQ(read_file(path), all);
  drop_metrics_after(path, 2, true);
  EXPECT_EQ(read_file(path), all.substr(0, all.size() / 2));
  drop_metrics_after(path, 0, true);
  EXPECT_EQ(read_file(path), "");
  write_file_atomically(path, "<!DOCTYPE html>\n" + all + "no row\n{\"cut");
  EXPECT_EQ(drop_metrics_after(path, 2, true), 2);
  EXPECT_EQ(read_file(path), all.substr(0, all.size() / 2));
  EXPECT_EQ(read_file(directory / "metrics.jsonl.unreadable"), "<!DOCTYPE html>\nno row\n");
}

TEST(Metrics, ErrorsNameTheLine) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "metrics.jsonl";
  MetricsFile file(path);
  file.append(training_row(1));
  const std::string good = read_file(path);
  for (const char* line : {"", "not JSON", "{}", "[1]", R"({"step":"one"})"}) {
    write_file_atomically(path, good + line + "\n" + good);
    expect_error([&] { read_metrics(path); }, {"metrics.jsonl: line 2"});
  }
  const auto expect_field_refused = [&](const std::string& field, const std::string& wrong) {
    std::string changed = good;
    changed.replace(changed.find(field), field.size(), wrong);
    write_file_atomically(path, good + changed);
    expect_error([&] { read_metrics(path); },
                 {"metrics.jsonl: line 2", "not a row", wrong.substr(wrong.find(':') + 1)});
  };
  for (const char* wrong :
       {"\"step\":-1", "\"step\":1.0", "\"step\":1e+300", "\"step\":9223372036854775808"})
    expect_field_refused("\"step\":1", wrong);
  expect_field_refused("\"epoch\":1", "\"epoch\":9223372036854775808");
  expect_field_refused("\"tokens\":512", "\"tokens\":-1");
  expect_field_refused("\"split\":\"train\"", "\"split\":\"test\"");
  expect_error([&] { read_metrics(directory / "missing"); }, {"missing"});
}

}  // namespace
}  // namespace mmrec
