#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/cpu_info.h"
#include "support/names.h"
#include "tests/common/growing_state.h"
#include "tests/train/programs/program_test.h"
#include "train/run/checkpoint.h"
#include "train/run/metrics.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using test::Arguments;
using test::command;
using test::expect_failed;
using test::Options;
using test::Outcome;
using test::Programs;

TEST_F(Programs, EvaluateReproducesTheValidation) {
  const Outcome trained = train(small_run());
  ASSERT_EQ(trained.code, 0) << trained.errors;
  const std::vector<MetricsRow> rows = read_metrics(out() / "metrics.jsonl");
  ASSERT_EQ(rows.back().split, "val");
  const Arguments arguments = {"--checkpoint", out().string(),
                               "--data",       (directory_ / "play.txt").string(),
                               "--threads",    "1"};
  const auto evaluate = [&](std::initializer_list<std::string> more) {
    Arguments all = arguments;
    all.insert(all.end(), more);
    return run("evaluate", all);
  };
  const auto figures = [&](std::initializer_list<std::string> more) {
    Arguments all = arguments;
    all.insert(all.end(), more);
    all.push_back("--json");
    const Outcome outcome = run("evaluate", all);
    EXPECT_EQ(outcome.code, 0) << outcome.errors;
    EXPECT_EQ(outcome.errors, "");
    return nlohmann::json::parse(outcome.output);
  };
  const nlohmann::json validation = figures({});
  EXPECT_EQ(validation["loss"], rows.back().loss);
  EXPECT_EQ(validation["accuracy"], rows.back().accuracy);
  EXPECT_DOUBLE_EQ(validation["perplexity"], std::exp(rows.back().loss));
  EXPECT_DOUBLE_EQ(validation["bits_per_character"], rows.back().loss / std::log(2));
  EXPECT_DOUBLE_EQ(validation["bits_per_byte"], rows.back().loss / std::log(2)) << "ASCII";
  EXPECT_DOUBLE_EQ(rows.back().bits_per_byte, rows.back().loss / std::log(2));
  EXPECT_EQ(validation["step"], 3);
  EXPECT_GT(validation["tokens_per_second"], 0);

  const nlohmann::json stream = figures({"--stream"});
  EXPECT_EQ(stream["positions"].get<int>() + 1, stream["characters"].get<int>());
  EXPECT_NE(stream["loss"], validation["loss"]);
  const int in_all = figures({"--part", "all"})["characters"];
  EXPECT_EQ(in_all, 3000);
  const Outcome whole = evaluate({"--part", "all"});
  EXPECT_NE(whole.output.find("split: none, the text is taken as a whole"), std::string::npos)
      << whole.output;
  EXPECT_EQ(
      figures({"--part", "train"})["characters"].get<int>() + validation["characters"].get<int>(),
      in_all);

  // Without --data: the text the model was trained on.
  EXPECT_EQ(nlohmann::json::parse(
                run("evaluate", {"--checkpoint", out().string(), "--json"}).output)["loss"],
            validation["loss"]);

  const Outcome table = evaluate({"--seq", "64"});
  EXPECT_LT(table.output.find("1 thread; kernels for"), table.output.find("best_model (step 3)"))
      << table.output;
  for (const char* part :
       {"best_model (step 3)", "validation part", "windows of 64", "loss ", "perplexity ",
        "accuracy ", "bits per character ", "bits per byte ", "tokens/s"})
    EXPECT_NE(table.output.find(part), std::string::npos) << part << " is not in: " << table.output;

  // Windows are as in the validations of the training. A text that has changed since is reported.
  ASSERT_EQ(
      train(small_run().set("--val-seq", "64").set("--out", (directory_ / "other").string())).code,
      0);
  const Arguments other = {"--checkpoint", (directory_ / "other").string(), "--json"};
  const Outcome windows = run("evaluate", other);
  EXPECT_EQ(windows.errors, "");
  EXPECT_EQ(nlohmann::json::parse(windows.output)["window"], 64);
  EXPECT_EQ(nlohmann::json::parse(windows.output)["loss"],
            read_metrics(directory_ / "other/metrics.jsonl").back().loss);
  std::ofstream(directory_ / "play.txt") << play().substr(10);
  EXPECT_NE(
      run("evaluate", other).errors.find("play.txt has changed since the model was trained on it"),
      std::string::npos);
  std::ofstream(directory_ / "play.txt") << "\uFEFF" << play().substr(10);
  EXPECT_NE(run("evaluate", other)
                .errors.find(
                    "then (if the data are as they were: earlier versions kept a byte order mark"),
            std::string::npos);
  std::ofstream(directory_ / "play.txt") << play();

  expect_failed(evaluate({"--part", "al"}), 2, {"--part", "al"});
  expect_failed(evaluate({"--val-split", "0"}), 2, {"--part validation", "not two tokens"});
  expect_failed(run("evaluate", {"--checkpoint", out().string(), "--data", "missing.txt"}), 1,
                {"missing.txt", "No such file"});
  expect_failed(run("evaluate", {"--checkpoint", "missing", "--data", "sample"}), 1,
                {"missing", "no such folder"});
}

TEST_F(Programs, EvaluateMeasuresTexts) {
  ASSERT_EQ(train(small_run().set("--val-split", "0.5")).code, 0);
  const auto evaluate = [&](Arguments more) {
    more.insert(more.end(), {"--checkpoint", out().string(), "--threads", "1"});
    return run("evaluate", more);
  };
  const auto figures = [&](Arguments more) {
    more.push_back("--json");
    const Outcome outcome = evaluate(more);
    EXPECT_EQ(outcome.code, 0) << outcome.errors;
    return nlohmann::json::parse(outcome.output);
  };
  const nlohmann::json json =
      figures({"--texts", "3", "--tokens", "200", "--temperature", "0.5", "--seed", "7"});
  EXPECT_EQ(json["texts"], 3);
  EXPECT_EQ(json["tokens"], 200);
  EXPECT_EQ(json["temperature"], 0.5);
  EXPECT_EQ(json["seed"], 7);
  // The texts are those of generate, and the longest copied piece is where it is said to be.
  const Outcome written =
      run("generate", {"--checkpoint", out().string(), "--threads", "1", "--samples", "3",
                       "--tokens", "200", "--temperature", "0.5", "--seed", "7", "--json"});
  const auto texts = nlohmann::json::parse(written.output)["texts"];
  const auto& copied = json["model"]["copied"];
  const std::string piece = copied["piece"];
  EXPECT_NE(texts[copied["text"].get<size_t>() - 1].get<std::string>().find(piece),
            std::string::npos);
  EXPECT_EQ(copied["longest"], piece.size());
  EXPECT_GE(copied["longest"], copied["mean"]);
  EXPECT_EQ(play().substr(copied["place"], piece.size()), piece);
  const std::string before = play().substr(0, copied["place"]);
  EXPECT_EQ(copied["line"].get<int64_t>() - 1, std::ranges::count(before, '\n'));
  for (const char* name : {"model", "validation"}) {
    ASSERT_EQ(json[name]["distinct"].size(), 4u);
    ASSERT_EQ(json[name]["rep"].size(), 4u);
  }
  // A play does not repeat itself as a model of three steps does.
  EXPECT_GT(json["validation"]["distinct"][3], 0.9);
  EXPECT_GT(json["validation"]["words"], 80);

  // On the text it was trained on, the passages of a memorised text are all copied.
  std::ofstream(directory_ / "twice.txt") << play() << '\n' << play() << '\n';
  const nlohmann::json twice = figures({"--texts", "2", "--tokens", "100", "--data",
                                        (directory_ / "twice.txt").string(), "--val-split", "0.5"});
  EXPECT_EQ(twice["validation"]["copied"]["mean"], 100);
  const std::string other = (directory_ / "twice.txt").string();
  const Outcome of_other = evaluate({"--texts", "2", "--tokens", "100", "--data", other});
  EXPECT_NE(of_other.output.find(" of the training part of " + other + ": \""), std::string::npos)
      << of_other.output;

  const Outcome table = evaluate({"--texts", "2"});
  ASSERT_EQ(table.code, 0) << table.errors;
  for (const char* said : {"2 texts of 500 characters", "validation text", "distinct-1 ", "rep-4 ",
                           "longest copied piece", "copied in text ", " of the training text: \""})
    EXPECT_NE(table.output.find(said), std::string::npos) << said << "\n" << table.output;

  const Outcome too_long = evaluate({"--texts", "4"});
  EXPECT_EQ(too_long.code, 0);
  EXPECT_NE(too_long.errors.find("too few for 4 passages of 500"), std::string::npos)
      << too_long.errors;
  EXPECT_EQ(too_long.output.find("validation text"), std::string::npos);
  EXPECT_TRUE(figures({"--texts", "4", "--quiet"})["validation"].is_null());
  const nlohmann::json short_texts = figures({"--texts", "2", "--tokens", "1"});
  EXPECT_TRUE(short_texts["model"]["distinct"][3].is_null());
  EXPECT_LE(short_texts["model"]["copied"]["longest"], 1);
  EXPECT_EQ(figures({"--texts", "1", "--greedy"})["greedy"], true);

  expect_failed(evaluate({"--texts", "0"}), 2, {"--texts: 0 is not a whole number from 1"});
  expect_failed(evaluate({"--texts", "2", "--greedy"}), 2, {"--texts 2", "all the same"});
  expect_failed(evaluate({"--texts", "2", "--stream"}), 2, {"--texts", "--stream", "together"});
  expect_failed(evaluate({"--texts", "2", "--part", "all"}), 2, {"--texts", "--part"});
  expect_failed(evaluate({"--top-p", "0.5"}), 2, {"--top-p is for --texts"});
}

TEST_F(Programs, StateOverflowBeyondTrainingWindowsIsReported) {
  ASSERT_EQ(train(small_run()
                      .set("--seq", "64")
                      .set("--batch", "2")
                      .set("--val-seq", "1000")
                      .set("--val-split", "0.4"))
                .code,
            0);
  const fs::path grown = directory_ / "grown";
  {
    const Checkpoint checkpoint(out());
    Parameters parameters(checkpoint.config);
    checkpoint.read_weights(parameters);
    test::let_state_grow(checkpoint.config, parameters);
    save_checkpoint(grown, checkpoint.config, checkpoint.tokenizer, parameters, checkpoint.state);
  }
  const auto evaluate = [&](Arguments more) {
    more.insert(more.end(), {"--checkpoint", grown.string(), "--threads", "1"});
    return run("evaluate", more);
  };
  expect_failed(evaluate({}), 1,
                {"the state left a float's range after", "the training's windows have 64",
                 "measure with --seq 64"});
  expect_failed(evaluate({"--stream"}), 1,
                {"the state left a float's range after", "without --stream and with --seq 64"});
  EXPECT_EQ(evaluate({"--seq", "64"}).code, 0);
  const Outcome text =
      run("generate", {"--checkpoint", grown.string(), "--tokens", "1000", "--threads", "1"});
  EXPECT_EQ(text.code, 1);
  EXPECT_NE(text.errors.find("error: the state left a float's range after"), std::string::npos)
      << text.errors;
  EXPECT_GT(text.output.size(), 64u) << "what it had written";
  EXPECT_EQ(text.output.back(), '\n') << "the error has a line of its own";
  const Outcome samples = run("generate", {"--checkpoint", grown.string(), "--tokens", "1000",
                                           "--threads", "1", "--samples", "2"});
  EXPECT_EQ(samples.code, 1);
  const size_t second = samples.output.find("--- sample 2 of 2 ---");
  ASSERT_NE(second, std::string::npos) << samples.output;
  EXPECT_GT(samples.output.size() - second, 64u) << "what it had written";
}

TEST_F(Programs, GenerateSamples) {
  ASSERT_EQ(train(small_run()).code, 0);
  const Options options = {
      {"--checkpoint", out().string()}, {"--prompt", "ROMEO"}, {"--seed", "1"}};
  const auto with = [&](const std::string& name, const std::string& value) {
    return generate(Options(options).set(name, value));
  };
  const std::string text = generate(options).output;
  const Outcome three = with("--samples", "3");
  ASSERT_EQ(three.code, 0) << three.errors;
  EXPECT_TRUE(
      three.output.starts_with("--- sample 1 of 3 ---\n" + text + "\n--- sample 2 of 3 ---\nROMEO"))
      << three.output;

  EXPECT_EQ(with("--top-k", "1").output, with("--temperature", "0").output);
  EXPECT_EQ(with("--top-p", "1e-9").output, with("--temperature", "0").output);
  EXPECT_NE(with("--repetition-penalty", "1e9").output, text);

  Arguments arguments = Options(options)
                            .set("--samples", "2")
                            .set("--tokens", "20")
                            .set("--threads", "1")
                            .arguments();
  arguments.push_back("--json");
  const Outcome outcome = run("generate", arguments);
  ASSERT_EQ(outcome.code, 0) << outcome.errors;
  const nlohmann::json json = nlohmann::json::parse(outcome.output);
  ASSERT_EQ(json["texts"].size(), 2u);
  EXPECT_EQ("ROMEO" + json["texts"][0].get<std::string>() + "\n", text);
  EXPECT_EQ(json["prompt"], "ROMEO");
  EXPECT_EQ(json["tokens"], 20);
}

TEST_F(Programs, GenerateStops) {
  ASSERT_EQ(train(small_run()).code, 0);
  const Options options = {{"--checkpoint", out().string()}, {"--prompt", "ROMEO"}};
  const std::string whole = generate(options).output;  // with the prompt and a newline
  const std::string made = whole.substr(5, whole.size() - 6);
  const std::string stop = made.substr(7, 2);
  const Outcome stopped = generate(Options(options).set("--stop", stop));
  ASSERT_EQ(stopped.code, 0) << stopped.errors;
  EXPECT_EQ(stopped.output, "ROMEO" + made.substr(0, made.find(stop)) + "\n");
  expect_failed(generate(Options(options).set("--stop", "")), 2, {"--stop"});

  Arguments escaped = Options(options).set("--prompt", R"(A\tB\n\\)").arguments();
  escaped.insert(escaped.end(), {"--escapes", "--tokens", "0", "--quiet"});
  EXPECT_EQ(run("generate", escaped).output, "A\tB\n\\\n");
  escaped.insert(escaped.end(), {"--stop", R"(\x)"});
  expect_failed(run("generate", escaped), 2, {"--escapes", "'x'"});
}

TEST_F(Programs, GenerateConverses) {
  ASSERT_EQ(train(small_run()).code, 0);
  const auto converse = [&](const Arguments& more, const std::string& input) {
    Arguments arguments = {
        "--checkpoint", out().string(), "--interactive", "--tokens", "20", "--threads", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run("generate", arguments, {}, input);
  };
  const Outcome both = converse({}, "ROMEO\nJULIET\n");
  ASSERT_EQ(both.code, 0) << both.errors;
  const std::string state = (directory_ / "state").string();
  const Outcome first = converse({"--state", state}, "ROMEO\n"),
                second = converse({"--state", state}, "JULIET\n");
  EXPECT_EQ(second.code, 0) << second.errors;
  EXPECT_EQ(first.output + second.output, both.output) << "the state is saved between the turns";
  EXPECT_EQ(converse({}, "").output, "");
  const Outcome odd = converse({}, "ROMEO\n\xff\nJULIET\n");
  EXPECT_EQ(odd.code, 0) << "a line that cannot be read ends nothing";
  EXPECT_EQ(odd.output, both.output);
  EXPECT_NE(odd.errors.find("0xff"), std::string::npos) << odd.errors;
  expect_failed(converse({"--state", (directory_ / "none/state").string()}, "ROMEO\n"), 1,
                {"none"});

  // Twice ten tokens are as good as twenty.
  const std::string half = (directory_ / "half").string();
  const auto greedy = [&](Arguments more) {
    Arguments arguments = {"--checkpoint", out().string(), "--threads", "1", "--greedy"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run("generate", arguments).output;
  };
  std::string halves = greedy({"--prompt", "ROMEO", "--tokens", "10", "--state", half});
  halves.pop_back();
  halves += greedy({"--tokens", "10", "--state", half});
  EXPECT_EQ(halves, greedy({"--prompt", "ROMEO", "--tokens", "20"}));

  // A signal ends a call, and the text goes on from there.
  const fs::path stopped = directory_ / "stopped";
  const std::string line = fmt::format("{}/generate --checkpoint {} --threads 1 --greedy ",
                                       MMREC_BINARY_DIR, out().string());
  const fs::path begun = directory_ / "begun";
  const Outcome interrupted = run_line(
      fmt::format("(ulimit -t 60; exec {0} --prompt ROMEO --tokens 100000000 --state {1} > {2}) & "
                  "until [ -s {2} ]; do sleep 0.05; done; sleep 0.1; kill $!; wait $!; code=$?; "
                  "cat {2}; echo \" code $code\"",
                  line, stopped.string(), begun.string()));
  const size_t end = interrupted.output.rfind("\n code 143\n");
  ASSERT_NE(end, std::string::npos) << interrupted.output.substr(0, 200) << interrupted.errors;
  const std::string more = interrupted.output.substr(0, end) +
                           run_line(line + "--tokens 30 --state " + stopped.string()).output;
  EXPECT_EQ(more, greedy({"--prompt", "ROMEO", "--tokens",
                          fmt::format("{}", more.size() - 1 - std::string_view("ROMEO").size())}));

  expect_failed(converse({"--prompt", "a"}, ""), 2, {"--interactive", "--prompt"});
  expect_failed(converse({"--samples", "2"}, ""), 2, {"--samples 2", "--interactive"});
  ASSERT_EQ(
      train(small_run().set("--out", (directory_ / "other").string()).set("--seed", "7")).code, 0);
  expect_failed(generate({{"--checkpoint", (directory_ / "other").string()}, {"--state", state}}),
                1, {state, "other weights"});
}

TEST_F(Programs, GenerateReportsUnknownCharacters) {
  ASSERT_EQ(train(small_run()).code, 0);
  const Options options = {{"--checkpoint", out().string()}, {"--prompt", "Rosé, René…\x01 "}};
  const Outcome outcome = generate(options);
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.errors,
            "warning: --prompt: 4 of 13 characters (30.77 %) have no token and are read as <UNK>: "
            "3 different ones, é U+00E9 (2), U+0001 (1), "
            "… U+2026 (1)\n");
  EXPECT_TRUE(outcome.output.starts_with("Rosé, René…\x01 ")) << outcome.output;
  Arguments quiet = options.arguments();
  quiet.push_back("--quiet");
  EXPECT_EQ(run("generate", quiet).errors, "");

  Options escaped = {{"--checkpoint", out().string()}, {"--prompt", R"(ROMEO:\n)"}};
  const std::string hint = "; --escapes reads \\n as a newline";
  EXPECT_TRUE(generate(escaped).errors.ends_with(hint + "\n")) << generate(escaped).errors;
  EXPECT_EQ(generate(escaped.set("--prompt", R"(ROMEO\)")).errors.find(hint), std::string::npos);
}

TEST_F(Programs, GenerateTakesTheNewestRun) {
  for (const char* name : {"one", "two"})
    ASSERT_EQ(train(small_run().set("--out", (directory_ / "checkpoints" / name).string())).code,
              0);
  fs::create_directory(directory_ / "checkpoints/begun");
  std::ofstream(directory_ / "checkpoints/begun/metrics.jsonl") << "";
  const auto newest = [&](const char* name) {
    const Outcome outcome = run_here("generate --threads 1 --tokens 20");
    EXPECT_EQ(outcome.code, 0) << outcome.errors;
    EXPECT_EQ(outcome.errors, fmt::format("--checkpoint checkpoints/{}: the run in checkpoints/ "
                                          "that trained last\n",
                                          name));
  };
  newest("two");
  ASSERT_EQ(run_here("train --resume checkpoints/one --steps 4").code, 0);
  newest("one");
}

TEST_F(Programs, GenerateNeverCutsACharacter) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += "ä€😀 日\n";
  std::ofstream(directory_ / "play.txt") << text;
  ASSERT_EQ(train(small_run()).code, 0);
  for (const char* seed : {"1", "2", "3"}) {
    const Outcome outcome = generate({{"--checkpoint", out().string()},
                                      {"--prompt", "😀"},
                                      {"--temperature", "5"},
                                      {"--seed", seed}});
    ASSERT_EQ(outcome.code, 0) << outcome.errors;
    EXPECT_NO_THROW(check_utf8(outcome.output, "the output"));
    EXPECT_EQ(outcome.output.find("�"), std::string::npos);
  }
}

TEST_F(Programs, CharactersMayBeginInOneCallAndEndInTheNext) {
  ASSERT_EQ(train(small_run().set("--tokenizer", "bytes").set("--vocab", "auto")).code, 0);
  const auto tokens = [&](int count, const std::string& state) {
    return run("generate", {"--checkpoint", out().string(), "--threads", "1", "--tokens",
                            fmt::format("{}", count), "--state", (directory_ / state).string()})
        .output;
  };
  std::string parts;
  for (int i = 0; i < 30; ++i) {
    parts += tokens(7, "parts");
    parts.pop_back();  // the newline after each call
  }
  const std::string whole = tokens(210, "whole");
  EXPECT_EQ(parts + "\n", whole);
  EXPECT_NE(whole.find("\uFFFD"), std::string::npos) << "it has learned no UTF-8 yet";
}

TEST_F(Programs, GenerateWorksWithoutANewlineToken) {
  for (const bool has_returns : {false, true}) {
    std::string text;
    for (int i = 0; i < 3000; ++i)
      text += has_returns && i % 60 == 59 ? '\r' : "ACGT"[(i * i + i / 7) % 4];
    std::ofstream(directory_ / "play.txt") << text;
    Arguments arguments = small_run().arguments();
    arguments.emplace_back("--overwrite");
    const Outcome trained = run("train", arguments);
    ASSERT_EQ(trained.code, 0) << trained.errors;
    const Outcome outcome =
        run("generate", {"--checkpoint", out().string(), "--tokens", "10", "--threads", "1"});
    EXPECT_EQ(outcome.code, 0) << outcome.errors;
    EXPECT_EQ(outcome.errors, "");
    ASSERT_EQ(outcome.output.size(), 11u) << outcome.output;
    EXPECT_EQ(outcome.output.find_first_not_of("ACGT\r"), 10u) << outcome.output;
    // Identical to the sample that train printed.
    EXPECT_NE(trained.output.find("sample of generated text:\n" + visible(outcome.output)),
              std::string::npos)
        << trained.output;
    const Outcome json = run(
        "generate", {"--checkpoint", out().string(), "--tokens", "10", "--threads", "1", "--json"});
    EXPECT_EQ(nlohmann::json::parse(json.output)["prompt"], "");
  }
}

TEST_F(Programs, GenerateRefusesBadInput) {
  ASSERT_EQ(train(small_run()).code, 0);
  const fs::path good = out() / "final_checkpoint", damaged = directory_ / "damaged";
  const auto expect_refused = [&](const Options& options, int code,
                                  std::initializer_list<std::string_view> mentions,
                                  std::string_view input = "") {
    SCOPED_TRACE(command(options));
    const Outcome outcome = generate(options, input);
    expect_failed(outcome, code, mentions);
    EXPECT_EQ(outcome.output, "");
  };
  expect_refused({{"--prompt", "ROMEO"}}, 2, {"--checkpoint is missing", "no run in checkpoints/"});
  expect_refused({{"--checkpoint", (directory_ / "missing").string()}}, 1,
                 {"missing", "no such folder"});
  expect_refused({{"--checkpoint", (good / "model.safetensors").string()}}, 1,
                 {"model.safetensors", "no such folder"});
  expect_refused({{"--checkpoint", directory_.path().string()}}, 1, {"not a checkpoint"});
  expect_refused({{"--checkpoint", good.string()}, {"--prompt", ""}}, 2,
                 {"--prompt", "at least one character"});
  expect_refused({{"--checkpoint", good.string()}, {"--prompt", "-"}}, 1,
                 {"--prompt", "byte 2 (0xff)", "UTF-8"}, "ab\xff");
  expect_refused({{"--checkpoint", good.string()}, {"--temperature", "-1"}}, 2,
                 {"--temperature", "-1"});
  expect_refused({{"--checkpoint", good.string()}, {"--top-p", "0"}}, 2, {"--top-p", "0"});
  expect_refused({{"--checkpoint", good.string()}, {"--top-k", "-1"}}, 2, {"--top-k", "-1"});
  expect_refused({{"--checkpoint", good.string()}, {"--repetition-penalty", "0"}}, 2,
                 {"--repetition-penalty", "0"});
  expect_refused({{"--checkpoint", good.string()}, {"--samples", "0"}}, 2, {"--samples", "0"});
  expect_refused({{"--checkpoint", good.string()}, {"--samples", "2"}, {"--temperature", "0"}}, 2,
                 {"--samples 2", "all the same"});
  expect_refused({{"--checkpoint", good.string()}, {"--prompt", "日本"}}, 1,
                 {"knows none of it", "日 U+65E5 (1), 本 U+672C (1)"});
  expect_refused({{"--checkpoint", good.string()}, {"--state", (directory_ / "play.txt").string()}},
                 1, {"play.txt is no saved state of a text", "choose another one"});
  expect_refused({{"--checkpoint", good.string()}, {"--temprature", "1"}}, 2,
                 {"unknown option --temprature", "did you mean --temperature?"});

  for (const char* file :
       {"config.json", "tokenizer.json", "model.safetensors", "optimizer.safetensors"}) {
    fs::remove_all(damaged);
    fs::copy(good, damaged);
    fs::remove(damaged / file);
    expect_refused({{"--checkpoint", damaged.string()}}, 1, {damaged.string(), file, "missing"});
  }
  fs::remove_all(damaged);
  fs::copy(good, damaged);
  fs::resize_file(damaged / "model.safetensors", fs::file_size(good / "model.safetensors") / 2);
  expect_refused({{"--checkpoint", damaged.string()}}, 1,
                 {"model.safetensors", "not what was saved"});
}

}  // namespace
}  // namespace mmrec
