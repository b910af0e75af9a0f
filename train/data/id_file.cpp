#include "train/data/id_file.h"

#include <fcntl.h>

#include <algorithm>
#include <vector>

#include "support/checksum.h"
#include "support/error.h"

namespace mmrec {
namespace {

constexpr size_t kBlock = size_t{1} << 20;  // bytes read at once

template <class Id>
uint32_t highest_of(std::span<const std::byte> ids) {
  const Id* const begin = reinterpret_cast<const Id*>(ids.data());
  Id highest = 0;
  for (const Id* id = begin; id != begin + ids.size() / sizeof(Id); ++id)
    highest = std::max(highest, *id);
  return highest;
}

uint32_t highest_id(std::span<const std::byte> ids, int width) {
  return width == 1   ? highest_of<uint8_t>(ids)
         : width == 2 ? highest_of<uint16_t>(ids)
                      : highest_of<uint32_t>(ids);
}

}  // namespace

IdFile::IdFile(const PathAt& path)
    : name_(path.shown().string()), file_("read", path, O_RDONLY), stamp_(file_.stamp()) {}

std::string IdFile::problem() {
  stamp_ = file_.stamp();  // taken before reading: the next read() detects later changes
  const int64_t end = layout_.begin + layout_.count * layout_.width;
  if (stamp_.size != end) return fmt::format("it has {} bytes, not {}", stamp_.size, end);
  std::vector<std::byte> block(kBlock);
  uint32_t crc = 0, highest = 0;
  for (int64_t place = layout_.begin; place < end;) {
    const std::span<std::byte> wanted =
        std::span(block).first(static_cast<size_t>(std::min<int64_t>(kBlock, end - place)));
    if (file_.read_at(place, wanted) < wanted.size()) return "it became shorter while it was read";
    crc = crc32_of(wanted, crc);
    highest = std::max(highest, highest_id(wanted, layout_.width));
    place += static_cast<int64_t>(wanted.size());
  }
  if (crc != layout_.crc32) return "the ids were altered (their checksum differs)";
  if (layout_.count > 0 && highest >= layout_.vocabulary)
    return fmt::format("it has an id of {}, where the vocabulary has {}", highest,
                       layout_.vocabulary);
  return "";
}

void IdFile::check(const FileLayout& layout) {
  layout_ = layout;
  if (const std::string what = problem(); !what.empty())
    fail("{}: {}; run 'prepare' again", name_, what);
}

void IdFile::read(int64_t first, std::span<std::byte> bytes) {
  // Compare the stamp after reading: it then shows every write before the read.
  while (file_.read_at(layout_.begin + first * layout_.width, bytes) < bytes.size() ||
         file_.stamp() != stamp_)
    if (const std::string what = problem(); !what.empty())
      fail("{}: the file was changed while it was in use: {}; run 'prepare' again", name_, what);
}

}  // namespace mmrec
