#include "train/data/prepared_data.h"

#include <fcntl.h>

#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "support/atomic_file.h"
#include "support/checksum.h"
#include "support/error.h"
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
    const PathAt text =
        held / (part + ".txt");  // the folder works without it, but for other tokens
    if (exists(text) && FileDescriptor("read", text, O_RDONLY).size() != file.source.text_bytes)
      fail("{}: {}.txt is no longer the text that {}.tokens was made from; run 'prepare' again",
           folder.string(), part, part);
    return std::move(file.tokens);
  };
  Tokens train = tokens_of("train"), validation = tokens_of("val");
  return {std::move(tokenizer), std::move(train), std::move(validation)};
}

}  // namespace

PreparedData load_prepared(const fs::path& folder, int vocabulary) {
  std::optional<PreparedData> data;
  read_replaceable_folder(
      folder, [&](const PathAt& held) { data.emplace(read_prepared(held, vocabulary)); });
  return std::move(*data);
}

}  // namespace mmrec
