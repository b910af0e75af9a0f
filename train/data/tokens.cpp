#include "train/data/tokens.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <span>
#include <utility>

#include "support/checksum.h"

namespace mmrec {

static_assert(std::endian::native == std::endian::little, "ids are used as they are stored");

Tokens::Tokens(std::vector<int32_t> ids)
    : count_(static_cast<int64_t>(ids.size())),
      width_(sizeof(int32_t)),
      crc32_(crc32_of(std::as_bytes(std::span(ids)))) {
  const auto owner = std::make_shared<const std::vector<int32_t>>(std::move(ids));
  ids_ = std::shared_ptr<const int32_t>(owner, owner->data());
}

Tokens::Tokens(std::shared_ptr<IdFile> file)
    : file_(std::move(file)),
      count_(file_->layout().count),
      width_(file_->layout().width),
      crc32_(file_->layout().crc32) {}

uint32_t Tokens::crc32_in(int width) const {
  constexpr int kPiece = 1 << 16;
  std::vector<std::byte> bytes;
  uint32_t crc = 0;
  for (int64_t first = 0; first < count_; first += kPiece) {
    bytes.clear();
    read(first, static_cast<int>(std::min<int64_t>(kPiece, count_ - first)), [&](int, int32_t id) {
      for (int i = 0; i < width; ++i) bytes.push_back(static_cast<std::byte>(id >> 8 * i));
    });
    crc = crc32_of(bytes, crc);
  }
  return crc;
}

Tokens Tokens::translated(std::vector<int32_t> new_ids) const {
  Tokens result = *this;
  result.new_ids_ = std::make_shared<const std::vector<int32_t>>(std::move(new_ids));
  result.crc32_ = result.crc32_in(sizeof(int32_t));
  return result;
}

double bytes_per_token(const Tokens& tokens, const Tokenizer& tokenizer) {
  std::vector<int64_t> lengths;
  for (int32_t id = 0; id < tokenizer.size(); ++id)
    lengths.push_back(std::ssize(tokenizer.decode(id)));
  int64_t bytes = 0;
  tokens.for_each([&](int32_t id) { bytes += lengths.at(static_cast<size_t>(id)); });
  return tokens.count() == 0 ? 1 : static_cast<double>(bytes) / static_cast<double>(tokens.count());
}

}  // namespace mmrec
