#include "train/run/metrics.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "support/error.h"
#include "support/exceptions.h"
#include "support/strict_json.h"

namespace mmrec {
namespace {

/// Fields that only some rows have.
constexpr std::pair<const char*, double MetricsRow::*> kOptional[] = {
    {"loss_in_trained_window", &MetricsRow::loss_in_trained_window},
    {"bits_per_byte", &MetricsRow::bits_per_byte},
    {"aux_loss", &MetricsRow::aux_loss},
    {"max_factor", &MetricsRow::max_factor},
    {"max_state", &MetricsRow::max_state}};

std::string to_line(const MetricsRow& row) {
  // The JSON library writes null for NaN and infinity, which JSON lacks.
  nlohmann::ordered_json json = {
      {"step", row.step},
      {"epoch", row.epoch},
      {"split", row.split},
      {"loss", row.loss},
      {"perplexity", row.perplexity()},
      {"accuracy", row.accuracy},
      {"lr", row.lr},
      {"grad_norm", row.grad_norm},
      {"tokens", row.tokens},
      {"tokens_per_second", row.tokens_per_second},
      {"seconds", row.seconds},
  };
  for (const auto& [name, member] : kOptional)
    if (!std::isnan(row.*member)) json[name] = row.*member;
  return json.dump() + "\n";
}

MetricsRow from_line(std::string_view line, const std::string& where) {
  const nlohmann::json json = parse_json(line, where, 1);
  try {
    const auto number = [&](const char* field) {
      return json.at(field).is_null() ? MetricsRow::kNone : json.at(field).get<double>();
    };
    const auto count = [&](const char* field, int64_t most) {
      if (const std::optional<uint64_t> value =
              whole_number(json.at(field), static_cast<uint64_t>(most)))
        return static_cast<int64_t>(*value);
      fail("{}: not a row of metrics: {} is {}", where, field, json.at(field).dump());
    };
    const std::string split = json.at("split");
    if (split != "train" && split != "val")
      fail("{}: not a row of metrics: split is \"{}\"", where, split);
    MetricsRow row{.step = count("step", INT64_MAX),
                   .epoch = count("epoch", INT64_MAX),
                   .split = split,
                   .loss = number("loss"),
                   .accuracy = number("accuracy"),
                   .lr = number("lr"),
                   .grad_norm = number("grad_norm"),
                   .tokens = count("tokens", INT64_MAX),
                   .tokens_per_second = number("tokens_per_second"),
                   .seconds = number("seconds")};
    for (const auto& [name, member] : kOptional)
      if (json.contains(name)) row.*member = number(name);
    return row;
  } catch (const nlohmann::json::exception& error) {
    fail("{}: not a row of metrics: {}", where, in_words(error));
  }
}

}  // namespace

double MetricsRow::perplexity() const { return std::exp(loss); }

void MetricsFile::append(const MetricsRow& row) { file_.append(to_line(row)); }

std::vector<MetricsRow> read_metrics(const PathAt& path) {
  std::vector<MetricsRow> rows;
  const std::string content = read_file(path);
  for (const std::string_view line : whole_lines(content))
    rows.push_back(
        from_line(line, fmt::format("{}: line {}", path.shown().string(), rows.size() + 1)));
  return rows;
}

int64_t drop_metrics_after(const PathAt& path, int64_t step, bool validated) {
  if (!exists(path)) return 0;
  const std::string content = read_file(path);
  std::string kept, unreadable;
  for (const std::string_view line : whole_lines(content)) {
    try {
      const MetricsRow row = from_line(line, "");
      if (row.step < step || (row.step == step && (validated || row.split == "train")))
        kept.append(line).append("\n");
    } catch (const Error&) {
      unreadable.append(line).append("\n");
    }
  }
  if (!unreadable.empty()) AppendFile(path + kUnreadable).append(unreadable);
  write_file_atomically(path, kept);
  return std::ranges::count(unreadable, '\n');
}

}  // namespace mmrec
