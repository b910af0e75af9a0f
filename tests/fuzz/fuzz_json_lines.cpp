#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz_target.h"
#include "train/text_file.h"

using namespace mmrec;

namespace {

/// The field `text` of all lines; throws for what is none.
std::vector<std::string> texts_of(std::string_view content) {
  std::vector<std::string> texts;
  for (size_t begin = 0; begin < content.size();) {
    const size_t end = std::min(content.find('\n', begin), content.size());
    const std::string_view line = content.substr(begin, end - begin);
    if (line.find_first_not_of(" \t\r") != line.npos) texts.push_back(nlohmann::json::parse(line).at("text"));
    begin = end + 1;
  }
  return texts;
}

}  // namespace

/// JSON lines, not compressed.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::MemoryFile input;
  const std::string_view content = fuzz::text_of(data, size);
  if (content.starts_with("\x1f")) return 0;
  input.write(content);
  std::vector<std::string> texts;
  if (fuzz::accepts([&] {
        read_json_lines(
            input.path(), [&](std::string_view text) { texts.emplace_back(text); }, [](int64_t) {});
      }))
    fuzz::require(texts == texts_of(content), "the texts are those that the library finds");
  return 0;
}
