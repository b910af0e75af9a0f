#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace mmrec {

/// A model of SentencePiece: byte pair encoding with a token for each byte. Id 0 is unknown, 1
/// padding; then come the 256 bytes, then the pieces. Spaces are U+2581 in its pieces.
class PieceModel {
 public:
  static constexpr int kFirstByte = 2;                  ///< id of the byte 0
  static constexpr int kFirstPiece = kFirstByte + 256;  ///< id of the first piece
  static constexpr int kMinSize = 300;                  ///< smallest limit of train()

  /// Makes a model of at most `limit` ids, at least kMinSize, of a text's lines (UTF-8, of 64 KiB
  /// at most; longer ones are left out). Returns its file. Equal lines give equal files. Throws an
  /// Error if there is no text in the lines. check_stop, if there is one, is called often and may
  /// throw; SentencePiece works in a child process then, since nothing else can stop it.
  static std::string train(const std::vector<std::string>& lines, int limit,
                           const std::function<void()>& check_stop = {});

  /// Reads such a file. `name`: of the file, in errors. Throws an Error if it is no model of
  /// SentencePiece or one of another kind.
  PieceModel(std::string file, const std::string& name);

  /// Adds the ids of a text. Any bytes are allowed: what is not valid UTF-8, and the character
  /// U+2581, become tokens of bytes.
  void encode(std::string_view text, std::vector<int32_t>& ids) const;
  /// Returns the bytes of each token, by id: "" for unknown and padding.
  std::vector<std::string> tokens() const;
  const std::string& file() const { return file_; }

 private:
  void check(const std::string& name) const;

  std::string file_;
  std::shared_ptr<const sentencepiece::SentencePieceProcessor> processor_;
};

}  // namespace mmrec
