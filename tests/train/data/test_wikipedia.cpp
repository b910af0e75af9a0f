#include "train/data/wikipedia.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "support/atomic_file.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_directory.h"
#include "train/data/corpus.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using test::expect_error;

const fs::path kDump = fs::path(MMREC_SOURCE_DIR) / "tests/train/data/packed/pages.xml.bz2";

const ReadObserver kNobody = [](int64_t) {};

std::string page(std::string_view title, std::string_view text,
                 std::string_view more = "<ns>0</ns>") {
  return fmt::format(
      "<page><title>{}</title>{}<id>1</id><revision><id>2</id><contributor><username>A</username>"
      "</contributor><text bytes=\"1\">{}</text></revision></page>\n",
      title, more, text);
}

class Wikipedia : public testing::Test {
 protected:
  using Documents = std::vector<std::string>;

  Documents documents_of(const std::string& xml, bool skip_bad = false) {
    write_file_atomically(path_, xml);
    Documents documents;
    facts_ = read_wikipedia(
        path_, [&](std::string_view text) { documents.emplace_back(text); }, kNobody, skip_bad);
    return documents;
  }
  Documents documents_in(const std::string& pages) {
    return documents_of("<mediawiki version=\"0.11\">\n" + pages + "</mediawiki>\n");
  }

  test::TemporaryDirectory directory_;
  fs::path path_ = directory_ / "pages";
  FileFacts facts_;
};

TEST_F(Wikipedia, IsRecognisedByContent) {
  for (const char* begin : {"<mediawiki>", "<mediawiki xmlns=\"x\"",
                            "\uFEFF<?xml version='1.0'?>\n<mediawiki\n", "<!-- a -->\n<mediawiki>"})
    EXPECT_TRUE(begins_like_wikipedia(begin)) << begin;
  for (const char* begin : {"", "<mediawiki", "<mediawikis>", "<html>", "a <mediawiki>", "<?xml"})
    EXPECT_FALSE(begins_like_wikipedia(begin)) << begin;
  EXPECT_TRUE(is_wikipedia(kDump));
}

TEST_F(Wikipedia, PagesAreDocuments) {
  EXPECT_EQ(documents_in(""), Documents{});
  EXPECT_EQ(
      documents_in(page("A &amp; B", "''wikitext'' &lt;ref&gt;é&#8364;&lt;/ref&gt; {{x}}\n\n")),
      Documents{"A & B\n\n''wikitext'' <ref>é€</ref> {{x}}"});
  EXPECT_EQ(documents_in(page("One", "1") + page("Empty", " \n") + page("Two", "2")),
            (Documents{"One\n\n1", "", "Two\n\n2"}));
  EXPECT_TRUE(facts_.skipped.empty());
  EXPECT_EQ(documents_in("<page><title>Old</title><ns>0</ns><revision><text>1</text></revision>"
                         "<revision><text>2</text></revision></page>"),
            Documents{"Old\n\n2"})
      << "the last revision counts";
}

TEST_F(Wikipedia, OtherPagesAreSkipped) {
  EXPECT_EQ(documents_in(page("Talk:A", "1", "<ns>1</ns>") +
                         page("B", "#REDIRECT [[C]]", "<ns>0</ns><redirect title=\"C\"/>") +
                         page("C", "3") + page("Template:D", "4", "<ns>10</ns>")),
            Documents{"C\n\n3"});
  EXPECT_EQ(facts_.skipped.text(),
            "1 as redirects (B); 2 of other namespaces (Talk:A, Template:D)");
}

TEST_F(Wikipedia, DamageIsLocated) {
  const auto expect_refused = [&](const std::string& xml,
                                  std::initializer_list<std::string_view> parts) {
    SCOPED_TRACE(xml.substr(0, 100));
    expect_error([&] { documents_of(xml); }, {path_.string()});
    expect_error([&] { documents_of(xml); }, parts);
  };
  const std::string good = "<mediawiki>\n" + page("A", "1") + page("B", "2") + "</mediawiki>\n";
  for (size_t length = 0; length < good.size() - 2; length += 7)
    expect_refused(good.substr(0, length), {"line ", "(byte ", "complete"});
  expect_refused("<mediawiki>\n<page></pages>", {"line 2 (byte ", "mismatched tag"});
  expect_refused("<mediawiki>\n<page>\xff</page>", {"line 2 (byte 18)", "invalid token"});
  expect_refused("<feed></feed>", {"line 1 (byte ", "no export of MediaWiki"});
  expect_refused("<mediawiki>&undefined;</mediawiki>", {"undefined entity"});
  std::string deep = "<mediawiki>";
  for (int i = 0; i < 200; ++i) deep += "<a>";
  expect_refused(deep, {"too many elements"});
  expect_refused("<mediawiki>" + page("A", std::string((32 << 20) + 10, 'x')),
                 {"longer than 32 MB"});
  // the visitor's exception ends the reading
  write_file_atomically(path_, good);
  expect_error([&] { read_wikipedia(path_, [](std::string_view) { fail("stop"); }, kNobody); },
               {"stop"});
}

TEST_F(Wikipedia, OfADamagedDumpThePagesBeforeMayBeRead) {
  const std::string good = "<mediawiki>\n" + page("A", "1") + page("B", "2") + "</mediawiki>\n";
  for (const std::string& cut :
       {good.substr(0, good.find("B")), "<mediawiki>\n" + page("A", "1") + "<page></pages>\n\n"}) {
    EXPECT_EQ(documents_of(cut, /*skip_bad=*/true), Documents{"A\n\n1"});
    EXPECT_EQ(facts_.skipped.text(), "1 damaged (" + path_.string() + " from line 3 on)");
  }
  const std::string packed = read_file(kDump);
  for (const size_t length : {packed.size() / 2, packed.size() - 1}) {
    expect_error<DamagedData>([&] { documents_of(packed.substr(0, length)); }, {path_.string()});
    documents_of(packed.substr(0, length), /*skip_bad=*/true);
    EXPECT_NE(facts_.skipped.text().find("1 damaged ("), std::string::npos);
  }
}

TEST_F(Wikipedia, LongDumpsAreReadInPieces) {
  std::string pages;
  Documents expected;
  for (int i = 0; i < 300; ++i) {
    const std::string text(static_cast<size_t>(i % 50 == 0 ? 1'500'000 : 3000 + i), 'x');
    pages += page(fmt::format("é{}", i), text + "€");
    expected.push_back(fmt::format("é{}\n\n{}€", i, text));
  }
  EXPECT_TRUE(documents_in(pages) == expected);
}

TEST_F(Wikipedia, MultistreamDumpsAreACorpus) {
  const Corpus corpus = load_corpus(kDump.string(), 0.);
  EXPECT_EQ(corpus.train,
            "First\n\nThe '''first''' page.\n\nSecond\n\nThe [[First|other]] page.\n\n");
  EXPECT_EQ(corpus.facts.format, Format::kWikipedia);
  const std::vector<Note> notes = describe(corpus.facts, 66);
  EXPECT_EQ(notes.at(0).text, "read: " + kDump.string() +
                                  " as Wikipedia's pages, compressed (bzip2): 2 documents, 66 "
                                  "characters");
  EXPECT_EQ(notes.at(1).text, "skipped: 1 as redirects (Old); 1 of other namespaces (Talk:First)");
}

}  // namespace
}  // namespace mmrec
