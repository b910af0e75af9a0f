#include "train/data/token_file.h"

#include <fcntl.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>

#include "support/checksum.h"
#include "support/error.h"

namespace mmrec {
namespace {

/// The header's layout in the file.
struct Header {
  char magic[8] = {'M', 'M', 'R', 'T', 'O', 'K', 'E', 'N'};
  uint32_t version = 1;
  uint32_t width = 0;  // bytes per id
  uint64_t count = 0;
  uint32_t vocabulary = 0;
  uint32_t tokenizer_crc32 = 0;
  uint64_t text_bytes = 0;
  uint32_t ids_crc32 = 0;
  uint8_t reserved[16] = {};
  uint32_t header_crc32 = 0;  // of the bytes above
};
static_assert(sizeof(Header) == 64 && std::endian::native == std::endian::little);

uint32_t checksum(const Header& header) {
  return crc32_of(std::as_bytes(std::span(&header, 1)).first(offsetof(Header, header_crc32)));
}

int width_for(int vocabulary) { return vocabulary <= 1 << 8 ? 1 : vocabulary <= 1 << 16 ? 2 : 4; }

template <class Id>
void narrow(std::span<const int32_t> ids, std::vector<std::byte>& bytes) {
  bytes.resize(ids.size() * sizeof(Id));
  Id* const out = reinterpret_cast<Id*>(bytes.data());
  std::ranges::transform(ids, out, [](int32_t id) { return static_cast<Id>(id); });
}

}  // namespace

TokenFileWriter::TokenFileWriter(const std::filesystem::path& path, int vocabulary)
    : file_("write", path, O_WRONLY | O_CREAT | O_EXCL), width_(width_for(vocabulary)) {
  const Header empty{.magic = {}};
  file_.write(std::as_bytes(std::span(&empty, 1)));
}

void TokenFileWriter::append(std::span<const int32_t> ids) {
  if (width_ == 1)
    narrow<uint8_t>(ids, narrow_);
  else if (width_ == 2)
    narrow<uint16_t>(ids, narrow_);
  else
    narrow<uint32_t>(ids, narrow_);
  file_.write(narrow_);
  crc32_ = crc32_of(narrow_, crc32_);
  count_ += static_cast<int64_t>(ids.size());
}

void TokenFileWriter::finish(const TokenFileSource& source) {
  Header header{.width = static_cast<uint32_t>(width_),
                .count = static_cast<uint64_t>(count_),
                .vocabulary = static_cast<uint32_t>(source.vocabulary),
                .tokenizer_crc32 = source.tokenizer_crc32,
                .text_bytes = static_cast<uint64_t>(source.text_bytes),
                .ids_crc32 = crc32_};
  header.header_crc32 = checksum(header);
  file_.seek(0);
  file_.write(std::as_bytes(std::span(&header, 1)));
  file_.flush();
}

TokenFile read_token_file(const PathAt& path) {
  const std::string name = path.shown().string();
  const auto file = std::make_shared<IdFile>(path);
  Header header;
  const size_t got = file->begin(std::as_writable_bytes(std::span(&header, 1)));
  if (got < sizeof header || std::memcmp(header.magic, Header().magic, sizeof header.magic) != 0)
    fail("{}: not a token file; make it with 'prepare'", name);
  if (header.version != Header().version)
    fail("{}: a token file of version {}, this program reads version {}; run 'prepare' again", name,
         header.version, Header().version);
  if (checksum(header) != header.header_crc32 ||
      (header.width != 1 && header.width != 2 && header.width != 4))
    fail("{}: the header was altered (its checksum differs); run 'prepare' again", name);
  const uint64_t id_bytes = static_cast<uint64_t>(file->bytes()) - sizeof header;
  if (id_bytes % header.width != 0 || id_bytes / header.width != header.count)
    fail("{}: {} bytes do not hold {} ids of {} bytes; run 'prepare' again", name, id_bytes,
         header.count, header.width);
  file->check({.begin = sizeof header,
               .count = static_cast<int64_t>(header.count),
               .width = static_cast<int>(header.width),
               .vocabulary = header.vocabulary,
               .crc32 = header.ids_crc32});
  return {Tokens(file),
          {static_cast<int>(header.vocabulary), header.tokenizer_crc32,
           static_cast<int64_t>(header.text_bytes)}};
}

}  // namespace mmrec
