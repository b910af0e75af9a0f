#include "train/data/packing.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>

#include "train/data/file_kind.h"

namespace mmrec {
namespace {

using namespace std::string_view_literals;

const std::set<std::string> kCompressed = {".gz", ".xz", ".bz2", ".zst"};
const std::set<std::string> kArchives = {".tar",  ".zip", ".tgz", ".taz",
                                         ".tbz2", ".tbz", ".txz", ".tzst"};

struct Signature {
  size_t place;
  std::string_view bytes;
  Packing packing;
};

constexpr Signature kSignatures[] = {
    {0, "\x1f\x8b"sv, Packing::kGzip},
    {0,
     "\xfd"
     "7zXZ\0"sv,
     Packing::kXz},
    {0, "\x28\xb5\x2f\xfd"sv, Packing::kZstd},
    {0, "PK\x03\x04"sv, Packing::kZip},
    {0, "PK\x05\x06"sv, Packing::kZip},  // without members
    {257, "ustar"sv, Packing::kTar},
};

/// "BZh", the block size, then a block or the end: Pi's digits or those of its square root.
bool is_bzip2(std::string_view begin) {
  const std::string_view magic = begin.substr(std::min<size_t>(4, begin.size()), 6);
  return begin.starts_with("BZh") && (magic == "1AY&SY"sv || magic == "\x17\x72\x45\x38\x50\x90"sv);
}

/// A frame to be skipped, with which parallel compressors begin.
bool is_skippable_zstd(std::string_view begin) {
  return begin.size() >= 4 && (begin[0] & 0xF0) == 0x50 && begin.substr(1, 3) == "\x2a\x4d\x18"sv;
}

}  // namespace

DamagedData::DamagedData(const std::filesystem::path& file, std::string_view problem,
                         std::string_view advice)
    : Error(fmt::format("{}: {}; {}, or have prepare --skip-bad leave out what is damaged",
                        file.string(), problem, advice)) {}

Packing packing_of(std::string_view begin) {
  for (const auto& [place, bytes, packing] : kSignatures)
    if (begin.substr(std::min(place, begin.size())).starts_with(bytes)) return packing;
  return is_bzip2(begin)            ? Packing::kBzip2
         : is_skippable_zstd(begin) ? Packing::kZstd
                                    : Packing::kNone;
}

std::string_view name_of(Packing packing) {
  constexpr std::string_view kNames[] = {"", "gzip", "xz", "bzip2", "zstd", "tar", "zip"};
  return kNames[static_cast<size_t>(packing)];
}

std::filesystem::path without_compression(const std::filesystem::path& name) {
  std::filesystem::path rest = name;
  while (kCompressed.contains(lower_case(rest.extension().string()))) rest.replace_extension();
  return rest;
}

bool is_called_packed(const std::filesystem::path& name) {
  return kCompressed.contains(lower_case(name.extension().string())) || is_called_archive(name);
}

bool is_called_archive(const std::filesystem::path& name) {
  return kArchives.contains(lower_case(without_compression(name).extension().string()));
}

}  // namespace mmrec
