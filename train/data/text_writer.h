#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "support/file_descriptor.h"
#include "train/data/read_watch.h"
#include "train/data/tokenizer.h"

namespace mmrec {

/// Writes the text of one part (training or validation) to disk and counts its characters.
class TextWriter {
 public:
  TextWriter(std::filesystem::path name, std::shared_ptr<const FileDescriptor> file,
             CharacterCounts& counts);
  /// Makes a new file.
  TextWriter(const std::filesystem::path& path, CharacterCounts& counts);

  /// `piece` must end between characters.
  void append(std::string_view piece);
  /// For text that is counted already, and for what is no text.
  void append_uncounted(std::string_view piece);
  void write_out();
  /// Returns where the validation part of the text begins. Call write_out() before.
  int64_t split_place(double val_split) const;
  /// Reads the text from `place` on, in pieces that end between characters.
  void read_end(int64_t place, const std::function<void(std::string_view)>& visit,
                ReadWatch& watch) const;
  void cut_off(int64_t place);
  void flush();
  int64_t bytes() const;

 private:
  std::filesystem::path name_;
  std::shared_ptr<const FileDescriptor> file_;
  CharacterCounts& counts_;
  std::string buffer_;
  int64_t bytes_ = 0;  // bytes written
};

}  // namespace mmrec
