#include "train/data/text_writer.h"

#include <fcntl.h>

#include <span>
#include <utility>

#include "support/error.h"
#include "train/data/split.h"
#include "train/data/text_file.h"

namespace mmrec {

namespace {

constexpr size_t kBuffer = size_t{1} << 20;  // bytes written at once

}  // namespace

TextWriter::TextWriter(std::filesystem::path name, std::shared_ptr<const FileDescriptor> file,
                       CharacterCounts& counts)
    : name_(std::move(name)), file_(std::move(file)), counts_(counts) {}

TextWriter::TextWriter(const std::filesystem::path& path, CharacterCounts& counts)
    : TextWriter(path, std::make_shared<FileDescriptor>("write", path, O_RDWR | O_CREAT | O_EXCL),
                 counts) {}

void TextWriter::append(std::string_view piece) {
  count_characters(piece, "the text", counts_);
  append_uncounted(piece);
}

void TextWriter::append_uncounted(std::string_view piece) {
  buffer_ += piece;
  if (buffer_.size() >= kBuffer) write_out();
}

void TextWriter::write_out() {
  file_->write(std::as_bytes(std::span(buffer_)));
  bytes_ += std::ssize(buffer_);
  buffer_.clear();
}

int64_t TextWriter::split_place(double val_split) const {
  return split_point(bytes_, val_split, [&](int64_t first, int64_t count) {
    std::string text(static_cast<size_t>(count), '\0');
    text.resize(file_->read_at(first, std::as_writable_bytes(std::span(text))));
    return text;
  });
}

void TextWriter::read_end(int64_t place, const std::function<void(std::string_view)>& visit,
                          ReadWatch& watch) const {
  int64_t read = 0;
  read_own_text(DataFile(name_, file_, place, bytes_ - place), visit,
                [&](int64_t bytes) { watch(read = bytes); });
  if (read != bytes_ - place)
    fail("{}: it became shorter while it was written; is another program at work on it?",
         name_.string());
}

void TextWriter::cut_off(int64_t place) {
  file_->truncate(place);
  bytes_ = place;
}

void TextWriter::flush() {
  write_out();
  file_->flush();
}

int64_t TextWriter::bytes() const { return bytes_ + std::ssize(buffer_); }

}  // namespace mmrec
