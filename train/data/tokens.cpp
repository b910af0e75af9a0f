#include "train/data/tokens.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <numbers>
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

void BytesOfTokens::add(const Tokens& tokens, const Tokenizer& tokenizer) {
  std::vector<int64_t> lengths;
  for (int32_t id = 0; id < tokenizer.size(); ++id)
    lengths.push_back(id == Tokenizer::kUnknown ? 1 : std::ssize(tokenizer.decode(id)));
  tokens_ += tokens.count();
  tokens.for_each([&](int32_t id) {
    bytes_ += lengths.at(static_cast<size_t>(id));
    unknown_ += id == Tokenizer::kUnknown ? 1 : 0;
  });
}

double BytesOfTokens::bits_per_byte(double mean_loss) const {
  constexpr double kBitsOfACharacter = 20;
  const double bits = mean_loss / std::numbers::ln2 * static_cast<double>(tokens_) +
                      kBitsOfACharacter * static_cast<double>(unknown_);
  return bits / static_cast<double>(std::max<int64_t>(bytes_, 1));
}

}  // namespace mmrec
