#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "train/data/id_file.h"
#include "train/data/tokenizer.h"

namespace mmrec {

/// A text as token ids, in memory or in a file. Copies share the ids.
class Tokens {
 public:
  Tokens(std::vector<int32_t> ids);
  /// Uses the ids of a file; they stay on disk.
  Tokens(std::shared_ptr<IdFile> file);

  int64_t count() const { return count_; }
  /// CRC-32 of the ids as stored (in their stored width). Together with count() it identifies a
  /// text.
  uint32_t crc32() const { return crc32_; }
  /// CRC-32 of the ids with `width` bytes each: 1, 2 or 4. Reads all ids.
  uint32_t crc32_in(int width) const;

  /// Returns the same text in another tokenizer's ids: new_ids[id] replaces id.
  Tokens translated(std::vector<int32_t> new_ids) const;

  /// Calls visit(i, id) for i = 0 .. n-1 with the n ids from index `first` on. The range must
  /// exist.
  template <class Visit>
  void read(int64_t first, int n, Visit visit) const {
    if (!file_) return visit_ids(ids_.get() + first, n, 0, visit);
    alignas(int32_t) std::array<std::byte, size_t{1} << 14> block;
    const int most = static_cast<int>(block.size()) / width_;
    for (int begin = 0; begin < n; begin += most) {
      const int count = std::min(most, n - begin);
      file_->read(first + begin, std::span(block).first(static_cast<size_t>(count * width_)));
      if (width_ == 1)
        visit_ids(reinterpret_cast<const uint8_t*>(block.data()), count, begin, visit);
      else if (width_ == 2)
        visit_ids(reinterpret_cast<const uint16_t*>(block.data()), count, begin, visit);
      else
        visit_ids(reinterpret_cast<const int32_t*>(block.data()), count, begin, visit);
    }
  }

  /// Calls visit(id) for all ids, in their order.
  template <class Visit>
  void for_each(Visit visit) const {
    constexpr int64_t kPiece = 1 << 20;
    for (int64_t first = 0; first < count_; first += kPiece)
      read(first, static_cast<int>(std::min(kPiece, count_ - first)),
           [&](int, int32_t id) { visit(id); });
  }

 private:
  /// `begin` is the index i of the first id.
  template <class Id, class Visit>
  void visit_ids(const Id* ids, int n, int begin, Visit& visit) const {
    for (int i = 0; i < n; ++i)
      visit(begin + i,
            new_ids_ ? new_ids_->at(static_cast<size_t>(ids[i])) : static_cast<int32_t>(ids[i]));
  }

  std::shared_ptr<IdFile> file_;        // empty: ids are in memory
  std::shared_ptr<const int32_t> ids_;  // in memory; shares ownership of the vector
  std::shared_ptr<const std::vector<int32_t>> new_ids_;  // empty: ids as stored
  int64_t count_;
  int width_;
  uint32_t crc32_;
};

/// Turns the loss on a text into bits per byte (of its UTF-8), by which models with different
/// tokens compare. A character without a token counts as one byte, and costs 20 bits beside its
/// <UNK>, as many as it takes to say which one it is: else a model with few tokens would look good.
class BytesOfTokens {
 public:
  void add(const Tokens& tokens, const Tokenizer& tokenizer);
  double bits_per_byte(double mean_loss) const;

 private:
  int64_t tokens_ = 0, unknown_ = 0, bytes_ = 0;
};

}  // namespace mmrec
