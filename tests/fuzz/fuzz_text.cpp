#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/utf8_reference.h"
#include "train/data/file_kind.h"
#include "train/data/packing.h"
#include "train/data/text_file.h"

using namespace mmrec;

namespace {

constexpr size_t kPiece = size_t{1} << 20;  // piece size of read_text

/// Reads a file with read_text. Returns false if it is rejected.
bool read(const fuzz::MemoryFile& file, std::string& text) {
  return fuzz::accepts([&] {
    read_text(
        file.path(),
        [&](std::string_view piece) {
          fuzz::require(!piece.empty() && fuzz::valid_bytes(piece) == piece.size(),
                        "a piece is whole characters");
          text += piece;
        },
        [](int64_t) {});
  });
}

}  // namespace

/// A text file. The first byte says how many of the other bytes come before the end of a piece, so
/// that characters are cut there. 0: the other bytes are the whole file, which may be compressed.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view content = fuzz::text_of(data + 1, size - 1);
  std::string text;
  if (data[0] == 0) {
    static fuzz::MemoryFile file;
    file.write(content);
    const bool is_read = read(file, text);
    if (packing_of(content) != Packing::kNone ||
        !fuzz::accepts([&] { check_begins_like_text(content, file.path(), false); }))
      return 0;
    fuzz::require(is_read == (fuzz::valid_bytes(content) == content.size()),
                  "just what is not UTF-8 is refused");
    const size_t mark = content.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
    fuzz::require(!is_read || text == content.substr(mark), "the pieces are the text");
    return 0;
  }
  static const std::string filling(kPiece, '.');
  static fuzz::MemoryFile file(filling);
  const size_t kept = kPiece - 255, before = kPiece - data[0];
  file.write(filling.substr(kept, before - kept) + std::string(content), kept);
  const bool is_read = read(file, text);
  fuzz::require(is_read == (fuzz::valid_bytes(content) == content.size()),
                "just what is not UTF-8 is refused, wherever a piece ends");
  fuzz::require(!is_read || std::string_view(text).substr(before) == content,
                "the pieces are the text");
  return 0;
}
