#include "train/infer/stop_strings.h"

#include <algorithm>
#include <utility>

#include "support/error.h"

namespace mmrec {

StopStrings::StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {
  if (std::ranges::count(stops_, "") > 0)
    fail_usage("--stop: an empty text would end every text at once");
}

std::string StopStrings::pass(std::string_view piece) {
  if (found_) return "";
  held_ += piece;
  size_t first = held_.npos, certain = held_.size();
  for (const std::string& stop : stops_) {
    first = std::min(first, held_.find(stop));
    for (size_t length = std::min(stop.size() - 1, held_.size()); length > 0; --length)
      if (held_.ends_with(std::string_view(stop).substr(0, length))) {
        certain = std::min(certain, held_.size() - length);
        break;
      }
  }
  found_ = first != held_.npos;
  std::string passed = held_.substr(0, found_ ? first : certain);
  held_.erase(0, found_ ? held_.npos : certain);
  return passed;
}

std::string StopStrings::rest() { return std::exchange(held_, ""); }

}  // namespace mmrec
