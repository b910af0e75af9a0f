#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz_target.h"
#include "train/data/file_kind.h"
#include "train/data/packing.h"
#include "train/data/text_file.h"
#include "train/data/tokenizer.h"

using namespace mmrec;

namespace {

/// Returns the field `text` of all lines, found with the JSON library; nullopt if a line has none.
/// The library cannot represent numbers beyond a double and halves of a UTF-16 pair.
std::optional<std::vector<std::string>> texts_of(std::string_view content) {
  std::vector<std::string> texts;
  if (content.starts_with(kByteOrderMark)) content.remove_prefix(kByteOrderMark.size());
  for (size_t begin = 0; begin < content.size();) {
    const size_t end = std::min(content.find('\n', begin), content.size());
    const std::string_view line = content.substr(begin, end - begin);
    if (line.find_first_not_of(" \t\r") != line.npos) {
      const nlohmann::json json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!json.is_object() || !json.contains("text") || !json["text"].is_string())
        return std::nullopt;
      texts.push_back(json["text"]);
    }
    begin = end + 1;
  }
  return texts;
}

}  // namespace

/// Uncompressed JSON lines.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::MemoryFile input;
  const std::string_view content = fuzz::text_of(data, size);
  if (packing_of(content) != Packing::kNone) return 0;
  input.write(content);
  std::vector<std::string> texts;
  FileFacts facts;
  const bool is_read = fuzz::accepts([&] {
    facts = read_json_lines(
        input.path(), [&](std::string_view text) { texts.emplace_back(text); }, [](int64_t) {});
  });
  if (!is_read) return 0;
  for (const std::string& text : texts) check_utf8(text, "a document");
  const auto expected = texts_of(content);
  fuzz::require(!expected || texts == *expected, "the texts are those that the library finds");
  fuzz::require(expected || content.find_first_of("0123456789\\") != content.npos,
                "the library cannot hold a number or a pair");
  return 0;
}
