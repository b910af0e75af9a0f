#include "train/data/split.h"

#include <algorithm>
#include <cmath>

#include "support/error.h"
#include "support/parse_number.h"

namespace mmrec {
namespace {

constexpr int64_t kLargeText = 10'000'000;  // bytes
constexpr double kOfSmallTexts = 0.2, kOfLargeTexts = 0.05;
constexpr int64_t kShortLine = 200, kLongLine = 1'000'000;  // bytes
constexpr double kFarOff = 0.5;  // fraction of the smaller of the requested parts

}  // namespace

std::optional<double> parse_validation_split(const std::string& text) {
  if (text == "auto") return std::nullopt;
  const std::optional<double> part = parse_number<double>(text);
  if (!part || !(*part >= 0 && *part < 1))
    fail_usage("--val-split {}: expected auto, or a part of at least 0 and less than 1", text);
  return part;
}

double validation_part(std::optional<double> asked, int64_t bytes) {
  const double part = asked.value_or(bytes < kLargeText ? kOfSmallTexts : kOfLargeTexts);
  if (!(part >= 0 && part < 1))
    fail_usage("a validation split of {} makes no sense; it must be at least 0 and less than 1",
               part);
  return part;
}

int64_t split_point(int64_t bytes, double val_split,
                    const std::function<std::string(int64_t, int64_t)>& text_at) {
  if (val_split == 0) return bytes;
  const int64_t cut = static_cast<int64_t>(static_cast<double>(bytes) * (1 - val_split));
  // A distant line end (a text may be one long line) would change the split too much.
  const int64_t from = std::max<int64_t>(0, cut - std::clamp(bytes / 50, kShortLine, kLongLine));
  const std::string before = text_at(from, std::min(cut + 1, bytes) - from);
  size_t end = static_cast<size_t>(cut - from);
  if (const size_t line_end = std::string_view(before).substr(0, end).rfind('\n');
      line_end != before.npos)
    return from + static_cast<int64_t>(line_end) + 1;
  const auto continues_a_character = [](char byte) {
    return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
  };
  while (end > 0 && end < before.size() && continues_a_character(before[end])) --end;
  return from + static_cast<int64_t>(end);
}

size_t split_point(std::string_view text, double val_split) {
  const auto text_at = [&](int64_t first, int64_t count) {
    return std::string(text.substr(static_cast<size_t>(first), static_cast<size_t>(count)));
  };
  return static_cast<size_t>(split_point(static_cast<int64_t>(text.size()), val_split, text_at));
}

Note describe_split(std::optional<double> asked, int64_t train, int64_t validation) {
  if (asked == 0.) return {"split: none, the text is taken as a whole"};
  const double reached = static_cast<double>(validation) /
                         static_cast<double>(std::max<int64_t>(train + validation, 1));
  std::string text = fmt::format("split: {} of the bytes for validation", percent(reached));
  if (!asked) return {text};
  text += fmt::format(", {} asked for", percent(*asked));
  if (std::abs(reached - *asked) <= std::min(*asked, 1 - *asked) * kFarOff) return {text};
  text += validation == 0 ? ": there is no validation text" : ", which is far off";
  return {text + "; give more text, documents of more even length or another --val-split",
          Style::kWarning};
}

bool DocumentSplit::next(size_t bytes) {
  const auto distance = [&](int64_t validation) {
    return std::abs(static_cast<double>(validation) - val_split_ * static_cast<double>(all_));
  };
  const bool is_first = all_ == 0;
  all_ += static_cast<int64_t>(bytes);
  const int64_t with_it = validation_ + static_cast<int64_t>(bytes);
  const bool is_validation = !is_first && distance(with_it) < distance(validation_);
  if (is_validation) validation_ = with_it;
  return is_validation;
}

}  // namespace mmrec
