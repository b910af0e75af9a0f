#pragma once

#include <random>
#include <string>
#include <vector>

namespace mmrec::test {

/// Names made of all kinds of bytes except NUL: printable ones, special characters of various
/// languages, UTF-8 and fragments of it, random bytes.
inline std::vector<std::string> some_names(int count) {
  std::mt19937 random(42);
  const std::vector<std::string> parts = {
      "a",          "7",       " ",      "\\",   "\\x",    "e9",       "\"",
      "'",          "#",       "\n",     "\r",   "\t",     "\x1b[31m", "\x7f",
      "/",          "[",       "]",      ",",    "=",      "{}",       "$",
      ";",          "\\u0000", "\"\"\"", "é",    "\u20ac", "\u009b",   "\uFFFE",
      "\U0001F600", "\uFEFF",  "\xe9",   "\xff", "\x80",   "\xc0\xaf", "\xed\xa0\x80",
      "\xf0\x9f"};
  std::vector<std::string> names = {"", "caf\xe9.txt", "plain.txt"};
  while (std::ssize(names) < count) {
    std::string& name = names.emplace_back();
    for (unsigned length = random() % 12; length > 0; --length)
      name += random() % 3 > 0 ? parts[random() % parts.size()]
                               : std::string(1, static_cast<char>(1 + random() % 255));
  }
  return names;
}

}  // namespace mmrec::test
