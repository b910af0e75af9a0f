#include "train/data/prepared_data.h"

#include <fcntl.h>

#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "support/atomic_file.h"
#include "support/checksum.h"
#include "support/error.h"
#include "support/file_descriptor.h"
#include "train/data/token_file.h"

namespace mmrec {

namespace fs = std::filesystem;

bool is_prepared(const fs::path& path) {
  std::error_code ignored;  // inaccessible: reading it later reports the reason
  return fs::exists(path / "train.tokens", ignored);
}

namespace {

PreparedData read_prepared(const PathAt& held, int vocabulary) {
  const fs::path& folder = held.shown();
  const auto& [of_others, of_pieces] = Tokenizer::kFileNames;
  const std::string name = exists(held / of_pieces) ? of_pieces : of_others;
  const std::string content = read_file(held / name);
  Tokenizer tokenizer = Tokenizer::parse(content, (folder / name).string());
  if (vocabulary != 0 && tokenizer.size() > vocabulary)
    fail_usage(
        "{} has {} tokens, more than the {} of --vocab; say --vocab auto, or prepare it with "
        "--vocab {}",
        folder.string(), tokenizer.size(), vocabulary, vocabulary);
  const uint32_t crc = crc32_of(content);
  const auto tokens_of = [&](const std::string& part) {
    TokenFile file = read_token_file(held / (part + ".tokens"));
    if (file.source.tokenizer_crc32 != crc || file.source.vocabulary != tokenizer.size())
      fail("{}: {}.tokens was made with another {}; run 'prepare' again", folder.string(), part,
           name);
    std::optional<DataFile> text;  // the folder works without it, but for other tokens
    if (const PathAt path = held / (part + ".txt"); exists(path)) {
      const auto opened = std::make_shared<const FileDescriptor>("read", path, O_RDONLY);
      const int64_t bytes = opened->size();
      if (bytes != file.source.text_bytes)
        fail("{}: {}.txt is no longer the text that {}.tokens was made from; run 'prepare' again",
             folder.string(), part, part);
      text.emplace(folder / (part + ".txt"), opened, 0, bytes);
    }
    return std::pair(std::move(file.tokens), std::move(text));
  };
  auto [train, train_text] = tokens_of("train");
  auto [validation, validation_text] = tokens_of("val");
  return {std::move(tokenizer), std::move(train), std::move(validation), std::move(train_text),
          std::move(validation_text)};
}

}  // namespace

PreparedData load_prepared(const fs::path& folder, int vocabulary) {
  std::optional<PreparedData> data;
  read_replaceable_folder(
      folder, [&](const PathAt& held) { data.emplace(read_prepared(held, vocabulary)); });
  return std::move(*data);
}

}  // namespace mmrec
