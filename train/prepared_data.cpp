#include "train/prepared_data.h"

#include <string>
#include <system_error>
#include <utility>

#include "runtime/error.h"
#include "train/atomic_file.h"
#include "train/checksum.h"
#include "train/token_file.h"

namespace mmrec {

namespace fs = std::filesystem;

bool is_prepared(const fs::path& path) {
  std::error_code ignored;  // what cannot be looked at cannot be read either, and then the reason is told
  return fs::exists(path / "train.tokens", ignored);
}

PreparedData load_prepared(const fs::path& folder, int vocabulary) {
  const std::string json = read_file(folder / "tokenizer.json");  // once: another folder may take this one's name
  Tokenizer tokenizer = Tokenizer::parse(json, (folder / "tokenizer.json").string());
  if (vocabulary != 0 && tokenizer.size() > vocabulary)
    fail_usage("{} has {} tokens, more than the {} of --vocab; say --vocab auto, or prepare it with --vocab {}", folder.string(), tokenizer.size(),
               vocabulary, vocabulary);
  const uint32_t crc = crc32_of(json);
  const auto tokens_of = [&](const std::string& part) {
    TokenFile file = read_token_file(folder / (part + ".tokens"));
    if (file.source.tokenizer_crc32 != crc || file.source.vocabulary != tokenizer.size())
      fail("{}: {}.tokens was made with another tokenizer.json; run 'prepare' again", folder.string(), part);
    std::error_code missing;  // the texts are for people; without them a folder is as good
    const uintmax_t bytes = fs::file_size(folder / (part + ".txt"), missing);
    if (!missing && bytes != static_cast<uintmax_t>(file.source.text_bytes))
      fail("{}: {}.txt is no longer the text that {}.tokens was made from; run 'prepare' again", folder.string(), part, part);
    return std::move(file.tokens);
  };
  Tokens train = tokens_of("train"), validation = tokens_of("val");
  return {std::move(tokenizer), std::move(train), std::move(validation)};
}

}  // namespace mmrec
