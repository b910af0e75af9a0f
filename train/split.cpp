#include "train/split.h"

#include <algorithm>
#include <system_error>

#include "runtime/error.h"
#include "runtime/parse_number.h"

namespace mmrec {
namespace {

constexpr int64_t kLargeText = 10'000'000;  // bytes
constexpr double kOfSmallTexts = 0.2, kOfLargeTexts = 0.05;
constexpr size_t kShortLine = 200, kLongLine = 1'000'000;  // bytes

}  // namespace

std::optional<double> parse_validation_split(const std::string& text) {
  if (text == "auto") return std::nullopt;
  const std::optional<double> part = parse_number<double>(text);
  if (!part || !(*part >= 0 && *part < 1)) fail_usage("--val-split {}: expected auto, or a part of at least 0 and less than 1", text);
  return part;
}

double validation_part(std::optional<double> asked, int64_t bytes) {
  const double part = asked.value_or(bytes < kLargeText ? kOfSmallTexts : kOfLargeTexts);
  if (!(part >= 0 && part < 1)) fail_usage("a validation split of {} makes no sense; it must be at least 0 and less than 1", part);
  return part;
}

size_t split_point(std::string_view text, double val_split) {
  if (val_split == 0) return text.size();
  size_t cut = static_cast<size_t>(static_cast<double>(text.size()) * (1 - val_split));
  // A line end far away (a text may be one long line) would leave another split than was asked for.
  const size_t near = std::clamp(text.size() / 50, kShortLine, kLongLine);
  const size_t from = cut - std::min(cut, near);
  const size_t line_end = text.substr(from, cut - from).rfind('\n');
  if (line_end != text.npos) return from + line_end + 1;
  const auto continues_a_character = [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; };
  while (cut > 0 && continues_a_character(text[cut])) --cut;
  return cut;
}

bool DocumentSplit::next(size_t bytes) {
  const bool is_validation = static_cast<double>(validation_) < val_split_ * static_cast<double>(all_);
  all_ += static_cast<int64_t>(bytes);
  if (is_validation) validation_ += static_cast<int64_t>(bytes);
  return is_validation;
}

}  // namespace mmrec
