#include "train/data/left_out.h"

#include <fmt/format.h>

namespace mmrec {

void LeftOut::add(std::string_view kind, std::string_view name) {
  Names& names = kinds_[std::string(kind)];
  if (++names.count > kNamed) return;
  if (!names.first.empty()) names.first += ", ";
  names.first += name;
}

void LeftOut::add(const LeftOut& other) {
  for (const auto& [kind, more] : other.kinds_) {
    Names& names = kinds_[kind];
    if (names.count == 0)
      names.first = more.first;
    else if (names.count + more.count <= kNamed)
      names.first += ", " + more.first;
    names.count += more.count;
  }
}

std::string LeftOut::text() const {
  std::string text;
  for (const auto& [kind, names] : kinds_)
    text += fmt::format("{}{} {} ({}{})", text.empty() ? "" : "; ", names.count, kind, names.first,
                        names.count > kNamed ? ", .." : "");
  return text;
}

}  // namespace mmrec
