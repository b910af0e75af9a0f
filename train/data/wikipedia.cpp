#include "train/data/wikipedia.h"

#include <expat.h>

#include <exception>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

#include "support/error.h"
#include "train/data/file_kind.h"
#include "train/data/plain_reader.h"

namespace mmrec {
namespace {

constexpr size_t kLongestPage = size_t{32} << 20;  // bytes
constexpr int kDeepest = 100;                      // elements in each other; a dump has five

/// Finds the documents in the elements <page> of <mediawiki>.
class PageParser {
 public:
  PageParser(const std::function<void(std::string_view)>& visit, LeftOut& skipped)
      : parser_(XML_ParserCreate(nullptr), XML_ParserFree), visit_(visit), skipped_(skipped) {
    if (!parser_) throw std::bad_alloc();
    XML_SetUserData(parser_.get(), this);
    XML_SetElementHandler(
        parser_.get(),
        [](void* self, const char* name, const char**) {
          guarded(self, [&](PageParser& parser) { parser.start(name); });
        },
        [](void* self, const char*) { guarded(self, [](PageParser& parser) { parser.end(); }); });
    XML_SetCharacterDataHandler(parser_.get(), [](void* self, const char* text, int bytes) {
      guarded(self, [&](PageParser& parser) { parser.append({text, static_cast<size_t>(bytes)}); });
    });
  }

  /// Returns "" or why this is no such file.
  std::string parse(std::string_view piece, bool is_last) {
    const XML_Status status =
        XML_Parse(parser_.get(), piece.data(), static_cast<int>(piece.size()), is_last);
    if (problem_) std::rethrow_exception(std::exchange(problem_, nullptr));
    if (!reason_.empty()) return reason_;
    return status == XML_STATUS_OK ? "" : XML_ErrorString(XML_GetErrorCode(parser_.get()));
  }
  uint64_t line() const { return XML_GetCurrentLineNumber(parser_.get()); }
  int64_t byte() const { return XML_GetCurrentByteIndex(parser_.get()); }

 private:
  /// No exception may pass through the library.
  template <class Body>
  static void guarded(void* self, Body body) {
    auto& parser = *static_cast<PageParser*>(self);
    try {
      body(parser);
    } catch (...) {
      parser.problem_ = std::current_exception();
      XML_StopParser(parser.parser_.get(), XML_FALSE);
    }
  }
  void stop(std::string reason) {
    reason_ = std::move(reason);
    XML_StopParser(parser_.get(), XML_FALSE);
  }
  void start(std::string_view name) {
    field_ = nullptr;
    if (depth_ == 0 && name != "mediawiki") return stop("this is no export of MediaWiki");
    if (depth_ == 1) is_page_ = name == "page";
    if (depth_ == 1) title_.clear(), namespace_.clear(), text_.clear(), is_redirect_ = false;
    if (depth_ == 2) is_revision_ = name == "revision";
    if (is_page_ && depth_ == 2) {
      field_ = name == "title" ? &title_ : name == "ns" ? &namespace_ : nullptr;
      is_redirect_ = is_redirect_ || name == "redirect";
    }
    if (is_page_ && is_revision_ && depth_ == 3 && name == "text") {
      field_ = &text_;
      text_.clear();  // of an earlier revision
    }
    if (++depth_ > kDeepest) stop("too many elements in each other");
  }
  void append(std::string_view text) {
    if (!field_) return;
    *field_ += text;
    if (field_->size() > kLongestPage) stop("the page is longer than 32 MB");
  }
  void end() {
    field_ = nullptr;
    if (--depth_ != 1 || !is_page_) return;
    if (namespace_ != "0") return skipped_.add("of other namespaces", title_);
    if (is_redirect_) return skipped_.add("as redirects", title_);
    text_.resize(text_.find_last_not_of(kXmlSpace) + 1);
    visit_(text_.empty() ? text_ : title_ + "\n\n" + text_);
  }

  std::unique_ptr<std::remove_pointer_t<XML_Parser>, void (*)(XML_Parser)> parser_;
  const std::function<void(std::string_view)>& visit_;
  LeftOut& skipped_;
  std::exception_ptr problem_;  // of visit_
  std::string reason_;          // to end the parsing
  int depth_ = 0;               // elements that are open
  bool is_page_ = false, is_revision_ = false, is_redirect_ = false;
  std::string title_, namespace_, text_;
  std::string* field_ = nullptr;  // of which the characters are read
};

}  // namespace

bool begins_like_wikipedia(std::string_view begin) {
  begin = without_prolog(begin);
  constexpr std::string_view kRoot = "<mediawiki";
  return begin.starts_with(kRoot) && begin.size() > kRoot.size() &&
         (begin[kRoot.size()] == '>' || kXmlSpace.find(begin[kRoot.size()]) != kXmlSpace.npos);
}

bool is_wikipedia(const DataFile& file) { return begins_like_wikipedia(PlainReader(file).begin()); }

FileFacts read_wikipedia(const DataFile& file, const std::function<void(std::string_view)>& visit,
                         const ReadObserver& observe, bool skip_bad) {
  LeftOut skipped;
  PageParser parser(visit, skipped);
  int64_t begin = 0;  // bytes of a byte order mark
  bool is_first = true, is_damaged = false;
  const auto parse = [&](std::string_view piece, bool is_last) {
    if (is_damaged) return;
    const std::string problem = parser.parse(piece, is_last);
    if (!problem.empty() && !skip_bad)
      fail(
          "{}: line {} (byte {}): {}; is this a complete dump of Wikipedia's pages? Get it again, "
          "or have prepare --skip-bad read the pages before",
          file.name.string(), parser.line(), begin + parser.byte(), problem);
    is_damaged = !problem.empty();
  };
  FileFacts facts = read_unchecked(
      file,
      [&](std::string_view piece, int64_t place) {
        if (std::exchange(is_first, false)) begin = place;
        parse(piece, false);
      },
      observe, skip_bad);
  if (!facts.ends_early && !facts.is_left_out) parse("", true);
  if (facts.ends_early || is_damaged)
    skipped.add("damaged", fmt::format("{} from line {} on", file.name.string(), parser.line()));
  facts.skipped.add(skipped);
  return facts;
}

}  // namespace mmrec
