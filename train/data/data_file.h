#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>

#include "support/file_descriptor.h"
#include "train/data/sha256.h"

namespace mmrec {

/// Called now and then with the bytes read so far of a file; may throw to end the reading.
using ReadObserver = std::function<void(int64_t bytes_read)>;

enum class Format { kText, kJsonLines, kWikipedia };

/// A file of a corpus: a file on the disk, or a part of a temporary file, which is there as long as
/// this is.
struct DataFile {
  DataFile(std::filesystem::path path) : name(std::move(path)) {}
  DataFile(std::filesystem::path name, std::shared_ptr<const FileDescriptor> copy, int64_t begin,
           int64_t bytes)
      : name(std::move(name)), copy(std::move(copy)), begin(begin), bytes(bytes) {}

  /// Its path, or for a temporary file its name in messages, such as "a.tar/b.txt".
  std::filesystem::path name;
  std::shared_ptr<const FileDescriptor> copy = {};  ///< the temporary file
  int64_t begin = 0;
  int64_t bytes = std::numeric_limits<int64_t>::max();  ///< at most, from `begin`
  int layers = 0;                                       ///< archives and compressions around it
  Format format = Format::kText;
};

/// Returns the size in bytes. Throws an Error if the file is not regular or cannot be accessed.
int64_t size_of(const DataFile& file);

/// Makes an empty temporary file without a name, in $TMPDIR or else in /var/tmp.
std::shared_ptr<const FileDescriptor> make_temporary_file();

/// Bytes that come one after another.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Fills `bytes` and returns how many were read; fewer only at the end.
  virtual size_t read(std::span<char> bytes) = 0;
};

/// The bytes of a file as they are.
class FileSource : public ByteSource {
 public:
  /// Throws as size_of does. `digest`, if given, receives the bytes.
  explicit FileSource(const DataFile& file, Sha256* digest = nullptr);

  size_t read(std::span<char> bytes) override;
  /// The next read() begins there.
  void seek(int64_t place) { place_ = place; }
  int64_t place() const { return place_; }
  int64_t size() const;
  /// Returns whether the file was written to since it was opened.
  bool was_changed() const { return file_->stamp() != opened_; }

 private:
  std::shared_ptr<const FileDescriptor> file_;
  FileStamp opened_;
  int64_t begin_, bytes_;
  int64_t place_ = 0;  // from begin_
  Sha256* digest_;
};

/// Appends all that is left of a source to a file. Calls observe(bytes appended). Returns their
/// number.
int64_t append(ByteSource& source, const FileDescriptor& file, const ReadObserver& observe);

/// Size and SHA-256 of a file, in lower-case hexadecimal.
struct Checksum {
  int64_t bytes;
  std::string sha256;
};
Checksum checksum_of(const DataFile& file, const ReadObserver& observe);

}  // namespace mmrec
