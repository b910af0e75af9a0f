#include "train/data/unpack.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "support/atomic_file.h"
#include "tests/common/expect_error.h"
#include "tests/common/gzip.h"
#include "tests/common/temporary_directory.h"
#include "train/data/corpus.h"
#include "train/data/text_file.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using test::expect_error;

const fs::path kPacked = fs::path(MMREC_SOURCE_DIR) / "tests/train/data/packed";

std::string packed(const std::string& name) { return read_file(kPacked / name); }

/// 300 lines, as make.sh writes them.
std::string lines() {
  std::string text;
  for (int i = 1; i <= 300; ++i) text += fmt::format("line {} of a text\n", i);
  return text;
}

class Unpack : public testing::Test {
 protected:
  /// Unpacks a file and returns "name: text" of each text in it.
  std::vector<std::string> texts_of(const fs::path& file, bool all_kinds = false) {
    unpacked_ = unpack({file}, all_kinds, /*skip_bad=*/false, [](int64_t) {});
    std::vector<std::string> texts;
    for (const DataFile& text : unpacked_.texts) {
      std::string content;
      facts_ = read_text(text, [&](std::string_view piece) { content += piece; }, [](int64_t) {});
      texts.push_back(text.name.lexically_relative(file).string() + ": " + content);
    }
    return texts;
  }
  fs::path write(std::string_view bytes) {
    std::ofstream(directory_ / "file") << bytes;  // without waiting for the disk
    return directory_ / "file";
  }
  void expect_damaged(const std::string& bytes) {
    expect_error<DamagedData>([&] { texts_of(write(bytes)); },
                              {(directory_ / "file").string(), "get the file"});
    const Unpacked without =
        unpack({directory_ / "file"}, /*all_kinds=*/false, /*skip_bad=*/true, [](int64_t) {});
    EXPECT_EQ(without.texts.empty(), !without.left_out.empty());
    for (const DataFile& text : without.texts)
      EXPECT_EQ(check_text(text, [](int64_t) {}).skipped.text(),
                "1 damaged (" + text.name.string() + ")");
  }

  test::TemporaryDirectory directory_;
  Unpacked unpacked_;
  FileFacts facts_;  // of the last text
};

using Texts = std::vector<std::string>;

TEST_F(Unpack, CompressedTextsAreRecognisedByContent) {
  for (const char* name : {"text.xz", "text.bz2", "text.zst", "text.gz.xz"}) {
    SCOPED_TRACE(name);
    const std::string bytes = packed(name);
    EXPECT_EQ(texts_of(write(bytes)), Texts{".: " + lines()});
    EXPECT_EQ(facts_.bytes, static_cast<int64_t>(bytes.size()));
    EXPECT_EQ(facts_.sha256, checksum_of(directory_ / "file", [](int64_t) {}).sha256);
    EXPECT_NE(facts_.compression, Packing::kNone);
    if (std::string_view(name) != "text.gz.xz") {
      EXPECT_EQ(texts_of(write(bytes + bytes)), Texts{".: " + lines() + lines()})
          << "two streams, one behind the other";
    }
  }
  EXPECT_EQ(texts_of(write(test::gzip(packed("text.bz2")))), Texts{".: " + lines()});
}

TEST_F(Unpack, DamagedCompressedDataAreAnError) {
  for (const char* name : {"text.xz", "text.bz2", "text.zst", "text.gz.xz"}) {
    SCOPED_TRACE(name);
    const std::string bytes = packed(name);
    for (size_t length = bytes.size() - 1; length > 10; length -= length > 60 ? 13 : 1) {
      SCOPED_TRACE(length);
      expect_damaged(bytes.substr(0, length));
    }
    for (size_t place = 12; place + 1 < bytes.size(); place += 11) {
      std::string damaged = bytes;
      damaged[place] = static_cast<char>(damaged[place] ^ 0x10);
      SCOPED_TRACE(place);
      expect_damaged(damaged);
    }
    expect_damaged(bytes + "junk");
    std::string second = bytes;
    second[1] ^= 1;
    expect_damaged(bytes + second);
  }
}

TEST_F(Unpack, MembersAreTheFilesOfAFolder) {
  const Texts texts = {"B.TXT: second\n", "a/z.txt: first\n", "c.md: third\n"};
  for (const char* name : {"folder.tar", "folder.tar.zst", "folder.zip"}) {
    SCOPED_TRACE(name);
    EXPECT_EQ(texts_of(kPacked / name), texts);
    const std::string file = (kPacked / name).string();
    EXPECT_EQ(unpacked_.left_out.text(),
              fmt::format("1 by a link in an archive ({0}/link.txt); 1 hidden ({0}/.hidden/x.txt); "
                          "1 of other kinds ({0}/p.png)",
                          file));
    ASSERT_EQ(unpacked_.archives.size(), 1u);
    EXPECT_EQ(unpacked_.archives[0].checksum.bytes, static_cast<int64_t>(fs::file_size(file)));
    EXPECT_EQ(unpacked_.archives[0].checksum.sha256,
              checksum_of(fs::path(file), [](int64_t) {}).sha256);
    EXPECT_EQ(texts_of(kPacked / name, /*all_kinds=*/true).size(), 4u);
    EXPECT_EQ(texts_of(write(packed(name))), texts) << "the name does not matter";
  }
  EXPECT_EQ(texts_of(write(test::gzip(packed("folder.zip")))), texts);
}

TEST_F(Unpack, ArchivesMayBeInArchives) {
  EXPECT_EQ(texts_of(kPacked / "nested.tar.bz2"),
            (Texts{"1.tar.xz/a/z.txt: first\n", "2.zip/B.TXT: second\n", "3.txt.gz: third\n"}));
  EXPECT_EQ(unpacked_.archives.size(), 1u);
  EXPECT_TRUE(facts_.is_member);
  expect_error<DamagedData>([&] { texts_of(kPacked / "deep.tar.xz"); },
                            {"deep.tar.xz/x.tar.xz/", "packed more than 8 times", "unpack it"});
  std::string often = "text";
  for (int i = 0; i < 8; ++i) often = test::gzip(often);
  EXPECT_EQ(texts_of(write(often)), Texts{".: text"});
  expect_error<DamagedData>([&] { texts_of(write(test::gzip(often))); },
                            {"file", "packed more than 8 times"});
}

TEST_F(Unpack, NamesOfMembersDoNotMatter) {
  EXPECT_EQ(texts_of(kPacked / "names.tar"),
            (Texts{"../up.txt: 2\n", "absolute.txt: 3\n", std::string(150, 'n') + "ü.txt: 4\n",
                   "é.txt: 5\n"}));
  EXPECT_NE(unpacked_.left_out.text().find("1 replaced by a later one"), std::string::npos);
  EXPECT_EQ(texts_of(kPacked / "names.zip"),
            (Texts{"../up.txt: 2\n", "absolute.txt: 3\n", "é.txt: 1\n"}));
}

TEST_F(Unpack, EncryptedMembersAreAnError) {
  expect_error([&] { texts_of(kPacked / "encrypted.zip"); },
               {"encrypted.zip/c.md is encrypted", "password"});
}

TEST_F(Unpack, DamagedArchivesAreAnError) {
  for (const char* name : {"folder.tar", "folder.tar.zst", "folder.zip"}) {
    SCOPED_TRACE(name);
    const std::string bytes = packed(name);
    const bool is_tar = std::string_view(name) == "folder.tar";
    // Behind a tar archive's end there are zeros, so many that a few may be missing.
    const size_t end = is_tar ? bytes.find_last_not_of('\0') / 512 * 512 + 512 : bytes.size() - 1;
    const size_t least = is_tar ? 300 : 40;  // such that it is recognised
    for (size_t length = end; length >= least; length -= is_tar ? 128 : 31) {
      SCOPED_TRACE(length);
      expect_damaged(bytes.substr(0, length));
    }
  }
  std::string tar = packed("folder.tar");
  tar[1] ^= 1;  // a header has a checksum
  expect_damaged(tar);
  expect_damaged(packed("folder.tar") + std::string(512, 'x'));
  EXPECT_EQ(texts_of(write(packed("folder.tar") + packed("names.tar"))).size(), 7u)
      << "one behind the other";
  std::string zip = packed("folder.zip");
  zip[zip.find("third")] ^= 1;
  expect_damaged(zip);
}

TEST_F(Unpack, AFolderAndItsArchiveAreTheSameCorpus) {
  const auto read = [&](const std::string& name) {
    return load_corpus((kPacked / name).string(), 0.).train;
  };
  EXPECT_EQ(read("folder.tar"), "second\nfirst\nthird\n");
  EXPECT_EQ(read("folder.zip"), read("folder.tar"));
  const Corpus corpus = load_corpus((kPacked / "folder.zip").string(), 0.);
  EXPECT_EQ(describe(corpus.facts, 19)[0].text, "read: 3 files as text, 3 of them in " +
                                                    (kPacked / "folder.zip").string() +
                                                    ": 19 characters");
  expect_error<DamagedData>(
      [&] { load_corpus(write(packed("folder.zip").substr(0, 100)).string(), 0.); },
      {"zip archive is damaged or ends too early"});
}

TEST_F(Unpack, AnEmptyDownloadIsNoArchive) {
  for (const char* name : {"a.zip", "b.txt.gz"}) {
    write_file_atomically(directory_ / name, "");
    expect_error<DamagedData>([&] { texts_of(directory_ / name); }, {name, "it is empty"});
  }
  write_file_atomically(directory_ / "c.txt", "");
  EXPECT_EQ(texts_of(directory_ / "c.txt"), Texts{".: "});
}

TEST_F(Unpack, NothingIsLeftInTheTemporaryFolder) {
  ::setenv("TMPDIR", directory_.path().c_str(), 1);
  EXPECT_EQ(texts_of(kPacked / "nested.tar.bz2").size(), 3u);
  EXPECT_TRUE(fs::is_empty(directory_.path()));
  ::setenv("TMPDIR", (directory_ / "missing").c_str(), 1);
  expect_error([&] { texts_of(kPacked / "folder.tar"); }, {"missing", "TMPDIR", "check the path"});
  ::unsetenv("TMPDIR");
}

}  // namespace
}  // namespace mmrec
