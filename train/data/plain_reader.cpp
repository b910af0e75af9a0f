#include "train/data/plain_reader.h"

#include <zlib.h>

#include <algorithm>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "support/error.h"
#include "train/data/archive_reader.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;

constexpr int kMostLayers = 8;

/// Decompresses gzip data with zlib. libarchive compares no checksum and takes a damaged member for
/// the end of the data; so does zlib's own gzread with data behind a member.
class GzipSource : public ByteSource {
 public:
  GzipSource(std::unique_ptr<ByteSource> source, fs::path name)
      : source_(std::move(source)), name_(std::move(name)) {
    constexpr int kGzip = 16;
    if (::inflateInit2(&stream_, MAX_WBITS + kGzip) != Z_OK) throw std::bad_alloc();
  }
  ~GzipSource() override { ::inflateEnd(&stream_); }

  size_t read(std::span<char> bytes) override {
    stream_.next_out = reinterpret_cast<Bytef*>(bytes.data());
    stream_.avail_out = static_cast<uInt>(bytes.size());
    while (stream_.avail_out > 0) {
      if (!within_member_) {
        if (!skip_zeros()) break;
        ::inflateReset(&stream_);
        within_member_ = true;
      }
      if (!refill()) throw DamagedData(name_, "the compressed data ends too early");
      const int code = ::inflate(&stream_, Z_NO_FLUSH);
      if (code != Z_OK && code != Z_STREAM_END)
        throw DamagedData(name_, fmt::format("the compressed data is damaged before byte {}",
                                             taken_ - stream_.avail_in));
      within_member_ = code == Z_OK;
    }
    return bytes.size() - stream_.avail_out;
  }

 private:
  /// Returns whether unread input is available; reads more if needed.
  bool refill() {
    if (stream_.avail_in > 0) return true;
    stream_.next_in = reinterpret_cast<Bytef*>(buffer_.data());
    stream_.avail_in = static_cast<uInt>(source_->read(buffer_));
    taken_ += stream_.avail_in;
    return stream_.avail_in > 0;
  }
  /// Skips padding: zeros may follow the last member, to fill a block. Returns false at the end.
  bool skip_zeros() {
    while (refill()) {
      for (; stream_.avail_in > 0; --stream_.avail_in, ++stream_.next_in)
        if (*stream_.next_in != 0) return true;
    }
    return false;
  }

  std::unique_ptr<ByteSource> source_;
  fs::path name_;
  std::vector<char> buffer_ = std::vector<char>(size_t{1} << 18);
  z_stream stream_{};
  int64_t taken_ = 0;  // bytes of the source
  bool within_member_ = false;
};

/// Decompresses other data with libarchive.
class OtherSource : public ByteSource {
 public:
  OtherSource(Packing packing, std::unique_ptr<ByteSource> source, fs::path name)
      : source_(std::move(source)),
        stream_(packing, *source_, std::move(name)),
        within_stream_(stream_.next()) {}

  size_t read(std::span<char> bytes) override {
    if (!within_stream_) return 0;
    const size_t got = stream_.read(bytes);
    if (got < bytes.size()) within_stream_ = stream_.next();
    return got;
  }

 private:
  std::unique_ptr<ByteSource> source_;
  ArchiveReader stream_;
  bool within_stream_;  // there is just one member
};

}  // namespace

/// A source whose first bytes are known.
class PlainReader::Beginning : public ByteSource {
 public:
  explicit Beginning(std::unique_ptr<ByteSource> source) : source_(std::move(source)) {
    begin_.resize(source_->read(begin_));
  }

  std::string_view begin() const { return begin_; }
  size_t read(std::span<char> bytes) override {
    const size_t known = std::min(begin_.size() - used_, bytes.size());
    std::copy_n(begin_.data() + used_, known, bytes.data());
    used_ += known;
    return known + (known < bytes.size() ? source_->read(bytes.subspan(known)) : 0);
  }

 private:
  std::unique_ptr<ByteSource> source_;
  std::string begin_ = std::string(kPackingBytes, '\0');
  size_t used_ = 0;
};

PlainReader::PlainReader(const DataFile& file, Sha256* digest) : layers_(file.layers) {
  auto raw = std::make_unique<FileSource>(file, digest);
  file_ = raw.get();
  source_ = std::make_unique<Beginning>(std::move(raw));
  if (begin().empty() && is_called_packed(file.name))  // a download that failed
    throw DamagedData(file.name, "it is empty, and not packed as its name says");
  for (;;) {
    const Packing packing = packing_of(source_->begin());
    if (packing != Packing::kNone && layers_ >= kMostLayers)
      throw DamagedData(
          file.name, fmt::format("it is packed more than {} times, one in the other", kMostLayers),
          "unpack it and give the files in it");
    if (packing == Packing::kNone || is_archive(packing)) return;
    ++layers_;
    if (compression_ == Packing::kNone) compression_ = packing;
    std::unique_ptr<ByteSource> plain;
    if (packing == Packing::kGzip)
      plain = std::make_unique<GzipSource>(std::move(source_), file.name);
    else
      plain = std::make_unique<OtherSource>(packing, std::move(source_), file.name);
    source_ = std::make_unique<Beginning>(std::move(plain));
  }
}

PlainReader::~PlainReader() = default;

size_t PlainReader::read(std::span<char> bytes) { return source_->read(bytes); }

std::string_view PlainReader::begin() const { return source_->begin(); }

int64_t PlainReader::bytes_read() const { return file_->place(); }

bool PlainReader::was_changed() const { return file_->was_changed(); }

}  // namespace mmrec
