// Replaces libFuzzer if the compiler has none; same usage: fuzz_json -runs=1000 -seed=1
// FILE_OR_FOLDER ..
// Runs the target on all files, then on as many random mutations of them as requested. Does not
// measure coverage.

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz_target.h"

namespace {

namespace fs = std::filesystem;
using Random = std::mt19937_64;

size_t below(Random& random, size_t end) { return random() % end; }

std::string changed(std::string input, const std::vector<std::string>& corpus, Random& random) {
  constexpr char kBytes[] = {'\0', '\xff', '\x7f', '\x80', '"', '{', '}',  '[', ']',
                             ',',  ':',    '-',    '9',    'e', '.', '\n', '\\'};
  for (size_t changes = 1 + below(random, 4); changes > 0; --changes) {
    const size_t place = below(random, input.size() + 1), length = 1 + below(random, 8);
    const std::string& other = corpus[below(random, corpus.size())];
    const char byte = kBytes[below(random, std::size(kBytes))];
    switch (below(random, 6)) {
      case 0:
        if (place < input.size())
          input[place] = static_cast<char>(input[place] ^ (1 << below(random, 8)));
        break;
      case 1:
        if (place < input.size()) input[place] = byte;
        break;
      case 2:
        input.insert(place, 1, byte);
        break;
      case 3:
        input.erase(place, length);
        break;
      case 4:
        input.insert(place, other.substr(below(random, other.size() + 1), length));
        break;
      default:
        input = input.substr(0, place) + other.substr(below(random, other.size() + 1));
    }
  }
  return input;
}

std::string content_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t runs = 0, seed = 0;
  std::vector<fs::path> files;
  for (const std::string_view word : std::vector<std::string_view>(argv + 1, argv + argc)) {
    const auto option = [&](std::string_view name, uint64_t& value) {
      return word.starts_with(name) &&
             std::from_chars(word.data() + name.size(), word.data() + word.size(), value).ptr ==
                 word.data() + word.size();
    };
    if (option("-runs=", runs) || option("-seed=", seed)) continue;
    if (!fs::exists(word)) {
      std::fprintf(stderr, "%.*s: neither -runs=N, -seed=N nor a file or folder\n",
                   static_cast<int>(word.size()), word.data());
      return 2;
    }
    if (fs::is_directory(word))
      std::copy(fs::directory_iterator(word), {}, std::back_inserter(files));
    else
      files.emplace_back(word);
  }
  if (files.empty()) {
    std::fprintf(stderr, "no files to run on\n");
    return 2;
  }
  std::sort(files.begin(), files.end());

  // If the process crashes, the last input remains in this file.
  const fs::path last = fs::path(argv[0]).filename().concat(".last-input");
  const auto run = [&](const std::string& input) {
    std::ofstream(last, std::ios::binary) << input;
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
  };
  std::vector<std::string> corpus;
  for (const fs::path& file : files) {
    std::fprintf(stderr, "%s\n", file.c_str());
    run(corpus.emplace_back(content_of(file)));
  }
  Random random(seed);
  for (uint64_t i = 0; i < runs; ++i)
    run(changed(corpus[below(random, corpus.size())], corpus, random));
  fs::remove(last);
  std::fprintf(stderr, "%zu files and %llu inputs made of them\n", files.size(),
               static_cast<unsigned long long>(runs));
}
