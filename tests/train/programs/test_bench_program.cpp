#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/atomic_file.h"
#include "tests/train/programs/program_test.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using test::expect_failed;
using test::Outcome;
using test::Programs;

TEST_F(Programs, Probe) {
  const fs::path golden = fs::path(MMREC_SOURCE_DIR) / "tests/model/golden/base.safetensors",
                 result = directory_ / "out.safetensors",
                 truncated = directory_ / "truncated.safetensors";
  const Outcome outcome = run("probe", {golden.string(), result.string(), "--threads", "1"});
  EXPECT_EQ(outcome.code, 0) << outcome.errors;
  EXPECT_GE(fs::file_size(result) + 4096, fs::file_size(golden))
      << "the same keys, but for the header's layout";

  fs::remove(result);
  const std::string content = read_file(golden);
  for (const size_t length :
       {size_t{0}, size_t{5}, size_t{100}, content.size() / 2, content.size() - 1}) {
    SCOPED_TRACE(length);
    std::ofstream(truncated, std::ios::binary) << content.substr(0, length);
    expect_failed(run("probe", {truncated.string(), result.string(), "--threads", "1"}), 1,
                  {"truncated.safetensors"});
    EXPECT_FALSE(fs::exists(result));
  }
  expect_failed(run("probe", {(directory_ / "missing").string(), result.string()}), 1,
                {"missing", "No such file"});
  expect_failed(
      run("probe", {golden.string(), (directory_ / "no/such/folder").string(), "--threads", "1"}),
      1, {"no/such/folder"});
  expect_failed(run("probe", {golden.string()}), 2, {"output is missing: what to write"});
}

TEST_F(Programs, BenchComparesAndReports) {
  const fs::path json = directory_ / "report.json", html = directory_ / "report.html";
  const Outcome outcome = run("bench", {"--compare", "column_sum", "--seconds", "1e-3", "--threads",
                                        "1", "--json", json.string(), "--html", html.string()});
  ASSERT_EQ(outcome.code, 0) << outcome.errors;
  for (const char* part : {"CPU", "threads             1 of", "peak", "rivals",
                           "column_sum/plain/fwd/512x128", "GB/s", "schedules from"})
    EXPECT_NE(outcome.output.find(part), std::string::npos)
        << part << " is not in: " << outcome.output;
  EXPECT_NE(read_file(json).find("\"name\": \"column_sum/plain/fwd/512x128\""), std::string::npos);
  EXPECT_TRUE(read_file(html).starts_with("<!DOCTYPE html>"));

  const Outcome list = run("bench", {"--compare", "column_sum", "--list"});
  EXPECT_EQ(list.code, 0) << list.errors;
  EXPECT_TRUE(list.output.starts_with("column_sum/plain/fwd/512x128\n")) << list.output;
  const Outcome some = run("bench", {"--suite", "gemm", "--list", "--only", "/nn_.*/17x19x33$"});
  EXPECT_TRUE(some.output.starts_with("gemm/nn_packed/fwd/17x19x33\n")) << some.output;
}

TEST_F(Programs, BenchRefusesWrongUse) {
  const fs::path json = directory_ / "report.json";
  expect_failed(run("bench", {"--suite", "gem"}), 2, {"no suite 'gem'", "gemm"});
  expect_failed(run("bench", {"--compare", "gem"}), 2, {"no operation 'gem'", "gemm"});
  expect_failed(run("bench", {"--suite", "gemm", "--compare", "gemm"}), 2,
                {"--compare", "--suite"});
  expect_failed(run("bench", {"--suite", "gemm", "--seconds", "0"}), 2, {"--seconds", "0"});
  expect_failed(run("bench", {"--json", json.string()}), 2,
                {"--json", "--suite", "--benchmark_out"});
  expect_failed(run("bench", {"--benchmark_fliter=x", "--suite", "gemm"}), 2,
                {"--benchmark_fliter=x"});
  expect_failed(run("bench", {"--mca", "gemm"}), 2, {"op:variant", "'gemm'"});
  expect_failed(run("bench", {"--mca", "gemm:sideways"}), 2,
                {"no kernel 'gemm:sideways'", "gemm:packed:nt"});
  expect_failed(run("bench", {"--suite", "gemm", "--only", "nothing"}), 2, {"nothing", "--list"});
  expect_failed(run("bench", {"--suite", "gemm", "--only", "("}), 2, {"regular expression"});
  expect_failed(run("bench", {"--cold"}), 2, {"--cold", "--suite"});
  expect_failed(run("bench", {"--suite", "train", "--cold"}), 2, {"--cold", "train"});
  expect_failed(run("bench", {"--only", "gemm"}), 2, {"--suite", "--benchmark_filter"});
  for (const char* option : {"--suite", "--compare", "--mca", "--only", "--json", "--html"})
    expect_failed(run("bench", {option, ""}), 2, {option, "empty"});
  EXPECT_FALSE(fs::exists(json));
  // Checked before anything is measured.
  for (const char* option : {"--json", "--html"}) {
    const Outcome outcome =
        run("bench", {"--suite", "gemm", option, (directory_ / "missing/report").string()});
    expect_failed(outcome, 1, {"missing/report", "No such file"});
    EXPECT_EQ(outcome.output, "");
  }
}

TEST_F(Programs, BenchChecksGoogleBenchmarksOptionsBeforeItMeasures) {
  const Outcome list = run("bench", {"--benchmark_list_tests", "--benchmark_filter=^column_sum/"});
  EXPECT_EQ(list.code, 0) << list.errors;
  EXPECT_TRUE(list.output.starts_with("column_sum/plain/fwd/512x128\n")) << list.output;
  EXPECT_EQ(list.output.find("gemm"), std::string::npos);
  const auto refused = [&](const std::string& option, int code,
                           const std::vector<std::string>& mentions) {
    const Outcome outcome = run("bench", {option});
    expect_failed(outcome, code, {mentions.begin(), mentions.end()});
    EXPECT_EQ(outcome.output, "") << option;
  };
  refused("--benchmark_fliter=x", 2,
          {"no option --benchmark_fliter", "did you mean --benchmark_filter?"});
  refused("--benchmark_filter=nothing", 2, {"matches no row", "nothing"});
  refused("--benchmark_format=xml", 2, {"--benchmark_format", "'xml'", "csv"});
  for (const std::string option :
       {"--benchmark_repetitions=x", "--benchmark_repetitions=0x10", "--benchmark_min_time=long"})
    refused(option, 2,
            {option.substr(0, option.find('=')) + " does not take the value '" +
             option.substr(option.find('=') + 1) + "'"});
  refused(fmt::format("--benchmark_out={}", (directory_ / "missing/out.json").string()), 1,
          {"missing/out.json", "No such file"});
}

TEST_F(Programs, BenchShowsAnInnerLoop) {
  const Outcome real = run("bench", {"--mca", "gemm:packed:nt"});
  EXPECT_EQ(real.code, 0) << real.errors;
  EXPECT_NE(real.output.find("of the FMA peak"), std::string::npos) << real.output;

  const std::string path = fmt::format("PATH={}", directory_.path().string());
  expect_failed(run("bench", {"--mca", "gemm:packed:nt"}, {path}), 1,
                {"llvm-mca", "not on the PATH", "Debian's package llvm"});

  const fs::path program = directory_ / "llvm-mca";
  const auto answer_with = [&](const std::string& script) {
    std::ofstream(program) << "#!/bin/sh\n" << script;
    fs::permissions(program, fs::perms::owner_all);
  };
  answer_with(
      "echo 'Iterations: 10'; echo 'Total Cycles: 300'; echo 'IPC: 1.5'; echo 'Block RThroughput: "
      "24.0'\n");
  const Outcome outcome = run("bench", {"--mca", "gemm:packed:nt"}, {path});
  EXPECT_EQ(outcome.code, 0) << outcome.errors;
  for (const char* part :
       {"gemm_packed_nt", "multiply-adds", "30.00 cycles an iteration", "of the FMA peak"})
    EXPECT_NE(outcome.output.find(part), std::string::npos)
        << part << " is not in: " << outcome.output;

  answer_with("echo 'unknown CPU'; exit 1\n");
  expect_failed(run("bench", {"--mca", "gemm:packed:nt"}, {path}), 1,
                {"unknown CPU", "a newer one"});
}

}  // namespace
}  // namespace mmrec
