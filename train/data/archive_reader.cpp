#include "train/data/archive_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>

#include <algorithm>
#include <new>
#include <utility>

#include "support/error.h"

namespace mmrec {
namespace {

constexpr size_t kTarBlock = 512;                    // bytes; two of zeros end a tar archive
constexpr size_t kSupply = size_t{128} * kTarBlock;  // bytes

/// While it lives, libarchive takes this thread's names to be UTF-8. In the locale "C", in which
/// programs begin, it has no name for a member whose name is not ASCII.
class Utf8Names {
 public:
  Utf8Names() : before_(::uselocale(utf8())) {}
  ~Utf8Names() { ::uselocale(before_); }
  Utf8Names(const Utf8Names&) = delete;
  Utf8Names& operator=(const Utf8Names&) = delete;

 private:
  static locale_t utf8() {
    static const locale_t locale = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", locale_t{});
    return locale;  // 0, which changes nothing, if the system does not have it
  }
  locale_t before_;
};

int filter_of(Packing packing) {
  switch (packing) {
    case Packing::kXz:
      return ARCHIVE_FILTER_XZ;
    case Packing::kBzip2:
      return ARCHIVE_FILTER_BZIP2;
    default:
      return ARCHIVE_FILTER_ZSTD;
  }
}

}  // namespace

struct ArchiveReader::Callbacks {
  template <class Body>
  static auto guarded(void* self, Body body) -> decltype(body(std::declval<ArchiveReader&>())) {
    auto& reader = *static_cast<ArchiveReader*>(self);
    try {
      return body(reader);
    } catch (...) {
      reader.problem_ = std::current_exception();
      return ARCHIVE_FATAL;
    }
  }
  static la_ssize_t read(archive*, void* self, const void** data) {
    return guarded(self, [&](ArchiveReader& reader) -> la_ssize_t {
      const std::span<const char> got =
          std::span(reader.buffer_).first(reader.source_.read(reader.buffer_));
      if (!got.empty())
        reader.ends_with_zeros_ =
            got.size() >= kTarBlock &&
            std::ranges::all_of(got.last(kTarBlock), [](char byte) { return byte == 0; });
      reader.supplied_ += static_cast<int64_t>(got.size());
      *data = got.data();
      return static_cast<la_ssize_t>(got.size());
    });
  }
  static la_int64_t seek(archive*, void* self, la_int64_t offset, int whence) {
    return guarded(self, [&](ArchiveReader& reader) -> la_int64_t {
      auto& file = dynamic_cast<FileSource&>(reader.source_);
      file.seek(offset + (whence == SEEK_SET   ? 0
                          : whence == SEEK_CUR ? file.place()
                                               : file.size()));
      return file.place();
    });
  }
};

ArchiveReader::ArchiveReader(Packing packing, ByteSource& source, std::filesystem::path name)
    : packing_(packing),
      source_(source),
      name_(std::move(name)),
      archive_(::archive_read_new(), ::archive_read_free),
      buffer_(kSupply) {
  archive* const reader = archive_.get();
  if (!reader) throw std::bad_alloc();
  if (packing == Packing::kZip) {
    ::archive_read_support_format_zip_seekable(reader);
    ::archive_read_set_seek_callback(reader, Callbacks::seek);
  } else if (packing == Packing::kTar) {
    ::archive_read_support_format_tar(reader);
    // Else the rest of the file is not looked at.
    ::archive_read_set_option(reader, "tar", "read_concatenated_archives", "1");
  } else {
    ::archive_read_append_filter(reader, filter_of(packing));
    ::archive_read_support_format_raw(reader);
    ::archive_read_support_format_empty(reader);
  }
  ::archive_read_set_read_callback(reader, Callbacks::read);
  ::archive_read_set_callback_data(reader, this);
  // An error that is found while formats are tried is recorded, but the result may be success.
  if (::archive_read_open1(reader) != ARCHIVE_OK || ::archive_errno(reader) != 0) fail_as_damaged();
}

ArchiveReader::~ArchiveReader() = default;

void ArchiveReader::fail_as_damaged() {
  if (problem_) std::rethrow_exception(std::exchange(problem_, nullptr));
  const char* reason = ::archive_error_string(archive_.get());
  throw DamagedData(
      name_,
      fmt::format(
          "the {} {} ({})",
          is_archive(packing_) ? fmt::format("{} archive", name_of(packing_))
                               : fmt::format("data compressed by {}", name_of(packing_)),
          is_archive(packing_) ? "is damaged or ends too early" : "are damaged or end too early",
          reason ? reason : "no reason given"));
}

bool ArchiveReader::next() {
  const Utf8Names names;
  const int code = ::archive_read_next_header(archive_.get(), &entry_);
  if (code == ARCHIVE_EOF) {
    check_end();
    return false;
  }
  // A warning says that a name or an attribute is in another encoding.
  if (code != ARCHIVE_OK && code != ARCHIVE_WARN) fail_as_damaged();
  return true;
}

std::string ArchiveReader::member() const {
  const char* const path = ::archive_entry_pathname(entry_);
  return path ? path : "";
}

ArchiveReader::Kind ArchiveReader::kind() const {
  if (::archive_entry_hardlink(entry_)) return Kind::kLink;
  switch (::archive_entry_filetype(entry_)) {
    case AE_IFREG:
      return Kind::kFile;
    case AE_IFLNK:
      return Kind::kLink;
    case AE_IFDIR:
      return Kind::kFolder;
    default:
      return Kind::kOther;
  }
}

bool ArchiveReader::is_encrypted() const { return ::archive_entry_is_encrypted(entry_) != 0; }

size_t ArchiveReader::read(std::span<char> bytes) {
  if (is_encrypted())
    fail("{}/{} is encrypted; unpack it with its password and give the files in it", name_.string(),
         member());
  size_t used = 0;
  while (used < bytes.size()) {
    const la_ssize_t got =
        ::archive_read_data(archive_.get(), bytes.data() + used, bytes.size() - used);
    if (got < 0) fail_as_damaged();
    if (got == 0) break;
    used += static_cast<size_t>(got);
  }
  return used;
}

/// What libarchive takes for the end may be damage.
void ArchiveReader::check_end() {
  if (packing_ == Packing::kZip) return;
  const bool is_all = ::archive_filter_bytes(archive_.get(), -1) == supplied_ &&
                      source_.read(std::span(buffer_).first(1)) == 0;
  if (packing_ == Packing::kTar) {
    if (!ends_with_zeros_)
      throw DamagedData(name_, "the tar archive ends too early, without its end mark");
  } else if (!is_all) {
    throw DamagedData(
        name_, fmt::format("the data compressed by {} are damaged, or other data are behind them",
                           name_of(packing_)));
  }
}

}  // namespace mmrec
