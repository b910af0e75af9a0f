#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace mmrec {

/// What was not read, for a summary: of each kind how many there were, and the first three names.
class LeftOut {
 public:
  /// kind: words after a number, such as "hidden" or "of other kinds".
  void add(std::string_view kind, std::string_view name);
  void add(const LeftOut& other);
  bool empty() const { return kinds_.empty(); }
  /// Returns "2 hidden (a/.b, a/.c); 1 of other kinds (d.pdf)"; "" if there is nothing.
  std::string text() const;

 private:
  struct Names {
    int64_t count = 0;
    std::string first;  // at most kNamed, with commas between
  };
  static constexpr int64_t kNamed = 3;

  std::map<std::string, Names, std::less<>> kinds_;
};

}  // namespace mmrec
