#include "runtime/cgroup_limits.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace mmrec {

namespace {

namespace fs = std::filesystem;

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

bool is_in(const std::vector<std::string>& list, std::string_view item) {
  return std::ranges::find(list, item) != list.end();
}

/// Reads word number `index` of a small file as a positive number. Returns nullopt for "max", for
/// -1 and if the file does not exist.
std::optional<double> number_in(const fs::path& file, size_t index = 0) {
  std::ifstream stream(file);
  std::string word;
  for (size_t i = 0; i <= index; ++i)
    if (!(stream >> word)) return std::nullopt;
  int64_t number = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error != std::errc() || end != word.data() + word.size() || number <= 0) return std::nullopt;
  return static_cast<double>(number);
}

/// A mounted cgroup hierarchy.
///   mounted  the group at the root of the mount
///   place    the mount point
struct Hierarchy {
  bool second_version;
  std::vector<std::string> controllers;  // version 1 only
  fs::path mounted, place;
};

/// Decodes the octal escapes of /proc/self/mountinfo, for example \040 for a space.
std::string unescaped(const std::string& text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    int code = 0;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(&text[i + 1], &text[i + 4], code, 8).ptr == &text[i + 4]) {
      result += static_cast<char>(code);
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

/// Parses mountinfo. Line format: ID PARENT DEVICE ROOT PLACE OPTIONS [TAG ..] - TYPE SOURCE
/// OPTIONS.
std::vector<Hierarchy> hierarchies(const fs::path& root) {
  std::vector<Hierarchy> found;
  std::ifstream file(root / "proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> words = split(line, ' ');
    const auto hyphen = std::ranges::find(words, "-");
    if (hyphen - words.begin() < 6 || words.end() - hyphen < 4) continue;
    const std::string& type = hyphen[1];
    if (type != "cgroup" && type != "cgroup2") continue;
    found.push_back({type == "cgroup2", split(hyphen[3], ','), unescaped(words[3]),
                     root / fs::path(unescaped(words[4])).relative_path()});
  }
  return found;
}

/// Returns the process's group in a hierarchy. Line format of /proc/self/cgroup:
/// ID:CONTROLLERS:PATH. CONTROLLERS is empty for version 2.
std::optional<fs::path> group_in(const Hierarchy& hierarchy, std::string_view controller,
                                 const fs::path& root) {
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (hierarchy.second_version ? controllers.empty() : is_in(split(controllers, ','), controller))
      return line.substr(second + 1);
  }
  return std::nullopt;
}

/// Returns the mounted folders of the process's group and of its ancestors. A container may see the
/// host's group names; then the group lies outside of the mount, and the mount's root is the group.
std::vector<fs::path> groups(std::string_view controller, bool second_version,
                             const fs::path& root) {
  std::vector<fs::path> folders;
  for (const Hierarchy& hierarchy : hierarchies(root)) {
    if (hierarchy.second_version != second_version ||
        !(second_version || is_in(hierarchy.controllers, controller)))
      continue;
    const std::optional<fs::path> group = group_in(hierarchy, controller, root);
    if (!group) continue;
    folders.push_back(hierarchy.place);
    const fs::path within = group->lexically_relative(hierarchy.mounted);
    if (within.empty() || *within.begin() == "..") continue;
    fs::path folder = hierarchy.place;
    for (const fs::path& name : within) folders.push_back(folder /= name);
  }
  return folders;
}

template <class T>
void lower(std::optional<T>& limit, std::optional<double> other) {
  if (other && (!limit || *other < static_cast<double>(*limit))) limit = static_cast<T>(*other);
}

}  // namespace

CgroupLimits cgroup_limits(const fs::path& root) {
  // Version 1 reports "no limit" as the largest value of its counter.
  constexpr double kNoLimit = 1LL << 60;
  CgroupLimits limits;
  const auto quota = [&](std::optional<double> time, std::optional<double> period) {
    if (time && period) lower(limits.cpus, *time / *period);
  };
  const auto memory = [&](std::optional<double> bytes) {
    if (bytes && *bytes < kNoLimit) lower(limits.memory, bytes);
  };
  for (const fs::path& folder : groups("cpu", true, root))
    quota(number_in(folder / "cpu.max"), number_in(folder / "cpu.max", 1));
  for (const fs::path& folder : groups("memory", true, root))
    memory(number_in(folder / "memory.max"));
  for (const fs::path& folder : groups("cpu", false, root))
    quota(number_in(folder / "cpu.cfs_quota_us"), number_in(folder / "cpu.cfs_period_us"));
  for (const fs::path& folder : groups("memory", false, root))
    memory(number_in(folder / "memory.limit_in_bytes"));
  return limits;
}

}  // namespace mmrec
