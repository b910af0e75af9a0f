#include "train/data/token_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <numeric>

#include "support/atomic_file.h"
#include "support/checksum.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_directory.h"
#include "train/data/prepared_data.h"
#include "train/data/windows.h"

namespace mmrec {
namespace {

using test::expect_error;
using test::TemporaryDirectory;

std::vector<int32_t> ids_of(const Tokens& tokens) {
  std::vector<int32_t> ids(static_cast<size_t>(tokens.count()));
  tokens.read(0, static_cast<int>(ids.size()),
              [&](int i, int32_t id) { ids[static_cast<size_t>(i)] = id; });
  return ids;
}

void write_tokens(const std::filesystem::path& path, const TokenFileSource& source,
                  std::span<const int32_t> ids) {
  TokenFileWriter writer(path, source.vocabulary);
  writer.append(ids.first(ids.size() / 3));
  writer.append({});
  writer.append(ids.subspan(ids.size() / 3));
  writer.finish(source);
}

TEST(TokenFile, IdsTakeAsManyBytesAsTheVocabularyNeeds) {
  struct IdWidth {
    int vocabulary, width;
  };
  for (const auto [vocabulary, width] :
       {IdWidth{3, 1}, {256, 1}, {257, 2}, {65'536, 2}, {65'537, 4}, {1'114'000, 4}}) {
    SCOPED_TRACE(vocabulary);
    const TemporaryDirectory directory;
    const std::vector<int32_t> ids = {0, 1, vocabulary / 2, vocabulary - 1, 2, vocabulary - 1, 0};
    const TokenFileSource source{
        .vocabulary = vocabulary, .tokenizer_crc32 = 0xfedcba98, .text_bytes = int64_t{1} << 40};
    write_tokens(directory / "t", source, ids);
    EXPECT_EQ(std::filesystem::file_size(directory / "t"), 64 + ids.size() * width);
    const TokenFile file = read_token_file(directory / "t");
    EXPECT_EQ(file.source, source);
    EXPECT_EQ(ids_of(file.tokens), ids);
  }
}

/// The format of docs/data.md, which other programs may read.
TEST(TokenFile, HasTheDocumentedBytes) {
  const TemporaryDirectory directory;
  write_tokens(directory / "t", {.vocabulary = 300, .tokenizer_crc32 = 0x04030201, .text_bytes = 5},
               std::vector{2, 258, 299});
  const std::string bytes = read_file(directory / "t");
  EXPECT_EQ(bytes.substr(0, 44),
            std::string(
                "MMRTOKEN\1\0\0\0\2\0\0\0\3\0\0\0\0\0\0\0\x2c\1\0\0\1\2\3\4\5\0\0\0\0\0\0\0", 40) +
                bytes.substr(40, 4));
  EXPECT_EQ(bytes.substr(44, 16), std::string(16, '\0'));
  EXPECT_EQ(bytes.substr(64), std::string("\2\0\2\1\x2b\1", 6));
}

TEST(TokenFile, MayBeEmpty) {
  const TemporaryDirectory directory;
  write_tokens(directory / "t", {.vocabulary = 3, .tokenizer_crc32 = 1, .text_bytes = 0}, {});
  EXPECT_EQ(read_token_file(directory / "t").tokens.count(), 0);
}

TEST(TokenFile, RefusesEveryTruncationAndEveryFlippedBit) {
  const TemporaryDirectory directory;
  write_tokens(directory / "t", {.vocabulary = 300, .tokenizer_crc32 = 7, .text_bytes = 9},
               std::vector{2, 3, 4, 5, 6, 7, 8, 299, 0});
  const std::string good = read_file(directory / "t");
  const auto expect_refused = [&](const std::string& bytes) {
    write_file_atomically(directory / "t", bytes);
    expect_error([&] { read_token_file(directory / "t"); },
                 {(directory / "t").string(), "prepare"});
  };
  for (size_t length = 0; length < good.size(); ++length) {
    SCOPED_TRACE(length);
    expect_refused(good.substr(0, length));
  }
  expect_refused(good + '\0');
  for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
    SCOPED_TRACE(bit);
    std::string bytes = good;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    expect_refused(bytes);
  }
  expect_error([&] { read_token_file(directory / "missing"); }, {"missing", "No such file"});
}

/// With correct checksums: other programs may write such files.
TEST(TokenFile, RefusesIdsBeyondTheVocabulary) {
  for (const int vocabulary : {100, 300, 70'000}) {
    SCOPED_TRACE(vocabulary);
    const TemporaryDirectory directory;
    write_tokens(directory / "t", {.vocabulary = vocabulary, .tokenizer_crc32 = 7, .text_bytes = 3},
                 std::vector{2, vocabulary, 3});
    expect_error([&] { read_token_file(directory / "t"); },
                 {(directory / "t").string(),
                  fmt::format("an id of {}, where the vocabulary has {}", vocabulary, vocabulary),
                  "prepare"});
  }
  const TemporaryDirectory directory;
  write_tokens(directory / "t", {.vocabulary = 70'000, .tokenizer_crc32 = 7, .text_bytes = 3},
               std::vector{2, -1, 3});
  expect_error([&] { read_token_file(directory / "t"); }, {"an id of 4294967295"});
}

class TokenFileInUse : public testing::Test {
 protected:
  TokenFileInUse() { write_tokens(path_, kSource, ids_); }
  static constexpr TokenFileSource kSource{
      .vocabulary = 300, .tokenizer_crc32 = 7, .text_bytes = 9};

  TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "t";
  const std::vector<int32_t> ids_ = {2, 3, 4, 5, 6, 7, 8, 299, 0},
                             others_ = {2, 3, 4, 5, 6, 7, 8, 298, 0};
};

TEST_F(TokenFileInUse, IsTheCheckedFileEvenIfItsNameIsReused) {
  const Tokens tokens = read_token_file(path_).tokens;
  write_tokens(directory_ / "other", kSource, others_);
  std::filesystem::rename(directory_ / "other", path_);
  EXPECT_EQ(ids_of(tokens), ids_);
  std::filesystem::remove(path_);
  EXPECT_EQ(ids_of(tokens), ids_);
}

TEST_F(TokenFileInUse, IsRefusedIfItsIdsHaveChanged) {
  const std::string good = read_file(path_);
  const auto expect_refused = [&](const std::string& bytes) {
    std::ofstream(path_) << good;
    const Tokens tokens = read_token_file(path_).tokens;
    EXPECT_EQ(ids_of(tokens), ids_);
    ::usleep(10'000);               // file timestamps have a coarse resolution
    std::ofstream(path_) << bytes;  // into the same file
    expect_error([&] { ids_of(tokens); },
                 {path_.string(), "changed while it was in use", "prepare"});
  };
  write_tokens(directory_ / "other", kSource, others_);
  expect_refused(read_file(directory_ / "other"));
  expect_refused(good.substr(0, good.size() - 4));
  expect_refused("");
  expect_refused(good + "more");
}

TEST_F(TokenFileInUse, MayBeRewrittenWithEqualContent) {
  const Tokens tokens = read_token_file(path_).tokens;
  const std::string bytes = read_file(path_);
  ::usleep(10'000);
  std::ofstream(path_) << bytes;
  EXPECT_EQ(ids_of(tokens), ids_);
  std::filesystem::last_write_time(
      path_, std::filesystem::file_time_type::clock::now() + std::chrono::hours(1));
  EXPECT_EQ(ids_of(tokens), ids_);
}

TEST(TokenFile, IsInvalidBeforeItIsFinished) {
  const TemporaryDirectory directory;
  {
    TokenFileWriter writer(directory / "t", 300);
    writer.append(std::vector{2, 3, 4});
  }
  expect_error([&] { read_token_file(directory / "t"); }, {"not a token file"});
}

#ifndef __SANITIZE_ADDRESS__  // it keeps shadow memory for every used byte
/// Returns the bytes of files that currently count as this process's memory.
int64_t resident_file_bytes() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0, resident = 0, shared = 0;
  file >> total >> resident >> shared;
  return shared * ::sysconf(_SC_PAGESIZE);
}

TEST(TokenFile, LongFileIsNeverWhollyInMemory) {
  constexpr int kCount = 100 << 20, kPiece = 1 << 20, kT = 1023;
  const TemporaryDirectory directory;
  TokenFileWriter writer(directory / "t", 256);
  std::vector<int32_t> piece(kPiece);
  std::iota(piece.begin(), piece.end(), 0);
  for (int32_t& id : piece) id %= 251;
  for (int i = 0; i < kCount / kPiece; ++i) writer.append(piece);
  writer.finish({.vocabulary = 256, .tokenizer_crc32 = 0, .text_bytes = 0});

  const int64_t before = resident_file_bytes();
  const WindowSet windows(read_token_file(directory / "t").tokens, kT, "the text");
  BatchOrder order(windows.count(), 8, 42);
  std::vector<int32_t> ids(kT * 8), targets(kT * 8);
  int64_t most = 0;
  for (int step = 1; step <= order.steps_per_epoch(); ++step) {
    windows.fill(order.batch(step).windows, IntTensor(ids.data(), {kT, 8}),
                 IntTensor(targets.data(), {kT, 8}));
    most = std::max(most, resident_file_bytes());
  }
  EXPECT_LT(most - before, int64_t{40} << 20)
      << "of a file of 100 MB, every byte of which was read";
}
#endif

class PreparedFolder : public testing::Test {
 protected:
  PreparedFolder() {
    CharacterCounts counts;
    count_characters("abcabca", "text", counts);
    const Tokenizer tokenizer(counts);
    tokenizer.save(directory_ / "tokenizer.json");
    write_part("train", tokenizer.encode("abcab", "text"));
    write_part("val", tokenizer.encode("ca", "text"));
  }

  void write_part(const std::string& name, const std::vector<int32_t>& ids) {
    const std::string json = read_file(directory_ / "tokenizer.json");
    write_file_atomically(directory_ / (name + ".txt"),
                          Tokenizer::load(directory_ / "tokenizer.json").decode(ids));
    write_tokens(directory_ / (name + ".tokens"),
                 {.vocabulary = 5,
                  .tokenizer_crc32 = crc32_of(json),
                  .text_bytes = static_cast<int64_t>(ids.size())},
                 ids);
  }
  PreparedData load(int vocabulary = 0) const {
    return load_prepared(directory_.path(), vocabulary);
  }

  TemporaryDirectory directory_;
};

TEST_F(PreparedFolder, IsLoaded) {
  EXPECT_TRUE(is_prepared(directory_.path()));
  EXPECT_FALSE(is_prepared(directory_ / "val.tokens"));
  const PreparedData data = load();
  EXPECT_EQ(data.tokenizer.decode(ids_of(data.train)), "abcab");
  EXPECT_EQ(data.tokenizer.decode(ids_of(data.validation)), "ca");
  EXPECT_EQ(load(5).tokenizer, data.tokenizer);
  for (const char* text : {"train.txt", "val.txt"}) std::filesystem::remove(directory_ / text);
  EXPECT_EQ(load().train.count(), 5) << "the texts are for people";
}

TEST_F(PreparedFolder, RefusesATokenizerTooLargeForTheModel) {
  expect_error<UsageError>([&] { load(4); }, {"5 tokens", "--vocab auto", "prepare"});
}

TEST_F(PreparedFolder, RefusesFilesThatDoNotBelongTogether) {
  write_file_atomically(directory_ / "val.txt", "ca and more");
  expect_error([&] { load(); }, {"val.txt", "no longer the text", "prepare"});
  std::filesystem::remove(directory_ / "val.txt");
  CharacterCounts counts;
  count_characters("xyzxyzx", "text", counts);
  Tokenizer(counts).save(directory_ / "tokenizer.json");
  expect_error([&] { load(); }, {"train.tokens", "another tokenizer.json"});
  std::filesystem::remove(directory_ / "tokenizer.json");
  expect_error([&] { load(); }, {"tokenizer.json", "No such file"});
}

}  // namespace
}  // namespace mmrec
