#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "train/data/data_file.h"
#include "train/data/packing.h"

struct archive;
struct archive_entry;

namespace mmrec {

/// libarchive's reading of an archive, or of one compressed stream, which then is the only member.
/// Throws a DamagedData with the name, and an Error for a member that is read and is encrypted. The
/// members' bytes are read as a ByteSource.
class ArchiveReader : public ByteSource {
 public:
  enum class Kind { kFile, kLink, kFolder, kOther };

  /// packing: not kNone, and not kGzip, of which libarchive does not compare the checksums. A zip
  /// archive must be a FileSource: what it holds is said at its end. `source` must outlive this.
  ArchiveReader(Packing packing, ByteSource& source, std::filesystem::path name);
  ~ArchiveReader() override;
  ArchiveReader(const ArchiveReader&) = delete;
  ArchiveReader& operator=(const ArchiveReader&) = delete;

  /// Goes to the next member; false at the end.
  bool next();
  /// The member's path in the archive, as it is stored.
  std::string member() const;
  Kind kind() const;
  bool is_encrypted() const;
  size_t read(std::span<char> bytes) override;

 private:
  struct Callbacks;
  /// Throws the source's exception or libarchive's error.
  [[noreturn]] void fail_as_damaged();
  void check_end();

  Packing packing_;
  ByteSource& source_;
  std::filesystem::path name_;
  std::unique_ptr<archive, int (*)(archive*)> archive_;
  archive_entry* entry_ = nullptr;
  std::vector<char> buffer_;
  int64_t supplied_ = 0;         // bytes of the source
  bool ends_with_zeros_ = true;  // the last block that was supplied
  std::exception_ptr problem_;   // of the source: must not pass through the library
};

}  // namespace mmrec
