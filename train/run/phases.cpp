#include "train/run/phases.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

#include "support/error.h"
#include "support/parse_number.h"

namespace mmrec {

namespace {

constexpr int64_t kMostSteps = 1'000'000'000'000;

/// Splits a text; "" has one empty part.
std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (;;) {
    const size_t end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    if (end == text.npos) return parts;
    text.remove_prefix(end + 1);
  }
}

}  // namespace

std::vector<Phase> parse_phases(std::string_view grow) {
  std::vector<Phase> phases;
  int64_t begin = 0;
  for (const std::string& text : split(grow, ',')) {
    const size_t colon = text.rfind(':');
    const std::optional<int64_t> steps =
        colon == text.npos ? std::nullopt
                           : parse_number<int64_t>(std::string_view(text).substr(colon + 1));
    if (!steps || *steps < 1 || *steps > kMostSteps - begin)
      fail_usage(
          "--grow {}: '{}' is not a size and its number of steps; expected for example "
          "tiny:2000,mini:2000 or tiny+dim=192:500",
          grow, text);
    std::vector<std::string> fields = split(text.substr(0, colon), '+');
    const std::string name = fields.front();
    fields.erase(fields.begin());
    Phase phase{text.substr(0, colon), preset(name, base_for(fields, {})), begin, begin + *steps};
    for (const std::string& field : fields) set_field(phase.config, field);
    begin = phase.end;
    phases.push_back(std::move(phase));
  }
  return phases;
}

std::string with_fields(std::string_view grow, const std::vector<std::string>& fields) {
  std::vector<std::string> phases = split(grow, ',');
  for (std::string& phase : phases)
    for (const std::string& field : fields)
      phase.insert(std::min(phase.rfind(':'), phase.size()), "+" + field);
  return fmt::format("{}", fmt::join(phases, ","));
}

std::string with_default(std::string_view grow, std::string_view field) {
  const std::string name(field.substr(0, field.find('=') + 1));
  std::vector<std::string> phases = split(grow, ',');
  for (std::string& phase : phases)
    if (phase.find("+" + name) == phase.npos && phase.find("+arch=") == phase.npos)
      phase.insert(std::min({phase.find('+'), phase.rfind(':'), phase.size()}),
                   fmt::format("+{}", field));
  return fmt::format("{}", fmt::join(phases, ","));
}

size_t phase_at(const std::vector<Phase>& phases, int64_t step) {
  const auto next = std::ranges::find_if(phases, [&](const Phase& p) { return step < p.end; });
  return static_cast<size_t>(std::min(next, phases.end() - 1) - phases.begin());
}

int64_t shortest_phase(const std::vector<Phase>& phases) {
  int64_t shortest = phases[0].end;
  for (const Phase& phase : phases) shortest = std::min(shortest, phase.end - phase.begin);
  return shortest;
}

void check_phases(const TrainOptions& options) {
  if (options.grow.empty()) {
    if (options.exact) fail_usage("--exact is for --grow, which says what to grow to");
    return;
  }
  const std::vector<Phase> phases = parse_phases(options.grow);
  for (size_t i = 0; i < phases.size(); ++i) {
    TrainOptions of_phase = options;
    of_phase.config = phases[i].config;
    check_config(of_phase.config);
    check_options(of_phase);
    if (i == 0) continue;
    if (phases[i].size.find("+vocab_size=") != std::string::npos &&
        phases[i].config.vocab_size != phases[0].config.vocab_size)
      fail_usage(
          "--grow .. {}: all sizes have the vocabulary of the first one; leave vocab_size out, or "
          "use --vocab",
          phases[i].size);
    Config before = phases[i - 1].config;
    before.vocab_size = phases[i].config.vocab_size;  // all phases have the run's
    check_growth(before, phases[i].config, growth_rule(options.exact));
  }
}

}  // namespace mmrec
