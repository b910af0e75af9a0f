#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "train/mapped_file.h"

namespace mmrec {

/// A text as token ids, in memory or in a mapped file. Copies share the ids.
class Tokens {
 public:
  Tokens(std::vector<int32_t> ids);
  /// `count` ids of `width` bytes each (1, 2 or 4, little-endian) from byte `begin` of a file on; crc32 is theirs.
  Tokens(std::shared_ptr<MappedFile> file, int64_t begin, int width, int64_t count, uint32_t crc32);

  int64_t count() const { return count_; }
  /// Of the ids, in the bytes an id that they are stored in: with the count, enough to tell a text from others.
  uint32_t crc32() const { return crc32_; }
  /// Of the ids in so many bytes each, 1, 2 or 4; goes through all of them.
  uint32_t crc32_in(int width) const;

  /// The same text with the ids of another tokenizer: new_ids[id] in place of id.
  Tokens translated(std::vector<int32_t> new_ids) const;

  /// Calls visit(i, id) for i = 0 .. n-1 with the ids from place `first` on, which must be there.
  template <class Visit>
  void read(int64_t first, int n, Visit visit) const {
    if (width_ == 1)
      visit_ids<uint8_t>(first, n, visit);
    else if (width_ == 2)
      visit_ids<uint16_t>(first, n, visit);
    else
      visit_ids<int32_t>(first, n, visit);
    if (file_) file_->count_read(int64_t{n} * width_);
  }

 private:
  template <class Id, class Visit>
  void visit_ids(int64_t first, int n, Visit visit) const {
    const Id* const ids = static_cast<const Id*>(ids_.get()) + first;
    for (int i = 0; i < n; ++i) visit(i, new_ids_ ? new_ids_->at(static_cast<size_t>(ids[i])) : static_cast<int32_t>(ids[i]));
  }

  std::shared_ptr<MappedFile> file_;                     // empty: in memory
  std::shared_ptr<const void> ids_;                      // owned along with what holds them
  std::shared_ptr<const std::vector<int32_t>> new_ids_;  // empty: the ids as they are stored
  int64_t count_;
  int width_;
  uint32_t crc32_;
};

}  // namespace mmrec
