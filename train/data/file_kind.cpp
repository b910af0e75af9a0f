#include "train/data/file_kind.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <nlohmann/json.hpp>
#include <set>

#include "support/error.h"
#include "train/data/packing.h"

namespace mmrec {
namespace {

using namespace std::string_view_literals;

constexpr int kJsonLines = 20;                    // lines to inspect
constexpr size_t kUtf16Bytes = size_t{64} << 10;  // bytes to inspect

/// A file type: its signature, name and advice.
struct Kind {
  size_t place;
  std::string_view magic;
  const char *what, *advice;
};

constexpr const char* kUnpack = "unpack it and give the files in it";
constexpr Kind kKinds[] = {
    {0, "\x04\x22\x4d\x18"sv, "compressed by lz4", "decompress it with unlz4"},
    {0, "\x1f\x9d"sv, "compressed by compress", "decompress it with gunzip"},
    {0, "PK\x03\x04"sv, "a zip archive", kUnpack},
    {0, "PK\x05\x06"sv, "an empty zip archive", "give a file with text"},
    {257, "ustar"sv, "a tar archive", kUnpack},
    {0, "7z\xbc\xaf\x27\x1c"sv, "a 7-zip archive", kUnpack},
    {0, "Rar!\x1a\x07"sv, "a RAR archive", kUnpack},
    {0, "%PDF-"sv, "a PDF document", "make a text of it, for example with pdftotext"},
    {0, "PAR1\x15"sv, "a Parquet file", "make JSON lines of it"},
    {0, "\xff\xfe\0\0"sv, "in UTF-32", "convert it with iconv -f UTF-32 -t UTF-8"},
    {0, "\0\0\xfe\xff"sv, "in UTF-32", "convert it with iconv -f UTF-32 -t UTF-8"},
    {0, "\xff\xfe"sv, "in UTF-16", "convert it with iconv -f UTF-16 -t UTF-8"},
    {0, "\xfe\xff"sv, "in UTF-16", "convert it with iconv -f UTF-16 -t UTF-8"},
};

/// Detects UTF-16 without a byte order mark: the upper bytes of a Western text's characters, or at
/// least of its spaces and line ends, are zero; those of others look like control characters or no
/// ASCII. Returns the encoding's name, or nullptr.
const char* utf16_of(std::string_view begin) {
  constexpr size_t kFewest = 2, kRarest = 20;  // minimum number of zeros; maximum bytes per zero
  constexpr size_t kRarestOfWestern = 4;
  size_t zeros[2] = {};
  begin = begin.substr(0, kUtf16Bytes);
  for (size_t place = begin.find('\0'); place != begin.npos; place = begin.find('\0', place + 1))
    ++zeros[place % 2];
  const size_t most = std::max(zeros[0], zeros[1]), least = std::min(zeros[0], zeros[1]);
  if (most < kFewest || most * kRarest < begin.size() || least * 100 > most) return nullptr;
  const auto is_of_ascii_text = [](unsigned char c) {
    return c < 0x80 &&
           (c >= 0x20 || std::string_view("\0\t\n\f\r\x1b", 6).find(static_cast<char>(c)) !=
                             std::string_view::npos);
  };
  if (most * kRarestOfWestern < begin.size() && std::ranges::all_of(begin, is_of_ascii_text))
    return nullptr;
  return zeros[0] > zeros[1] ? "UTF-16BE" : "UTF-16LE";
}

bool begins_like_html(std::string_view begin) {
  begin = without_prolog(begin);
  const std::string start = lower_case(begin.substr(0, 14));
  return start == "<!doctype html" ||
         std::ranges::any_of(std::array{"<html"sv, "<head"sv, "<body"sv},
                             [&](std::string_view tag) {
                               return start.size() > tag.size() && start.starts_with(tag) &&
                                      (start[tag.size()] == '>' ||
                                       kXmlSpace.find(start[tag.size()]) != kXmlSpace.npos);
                             });
}

enum class Object { kNone, kWhole, kCut };

/// Classifies a line that begins with a brace.
Object object_of(std::string_view line) {
  try {
    [[maybe_unused]] const nlohmann::json object = nlohmann::json::parse(line);
    return Object::kWhole;
  } catch (const nlohmann::json::parse_error& error) {
    // an error after the last byte means: input ended early
    return error.byte > line.size() ? Object::kCut : Object::kNone;
  } catch (const nlohmann::json::out_of_range&) {  // a number such as 1e400
    return Object::kWhole;
  }
}

}  // namespace

std::string lower_case(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

std::string extension_of(const std::filesystem::path& path) {
  const std::filesystem::path name = lower_case(path.filename().string());
  return without_compression(name).extension().string();
}

void check_begins_like_text(std::string_view begin, const std::filesystem::path& path,
                            bool is_compressed) {
  const std::string name = path.string() + (is_compressed ? ", decompressed," : "");
  for (const auto& [place, magic, what, advice] : kKinds)
    if (begin.substr(std::min(place, begin.size())).starts_with(magic))
      fail("{} is {}; {}", name, what, advice);
  if (const char* encoding = utf16_of(begin))
    fail(
        "{} has a zero in every other byte, as a text in {} has; convert it with iconv -f {} -t "
        "UTF-8",
        name, encoding, encoding);
  if (!is_compressed && is_called_packed(path) && begins_like_html(begin))
    fail(
        "{} is an HTML page and not packed, as its name says: probably a server's message in "
        "place of the file; get the file again",
        path.string());
}

std::string_view without_prolog(std::string_view begin) {
  if (begin.starts_with(kByteOrderMark)) begin.remove_prefix(kByteOrderMark.size());
  for (;;) {
    begin.remove_prefix(std::min(begin.find_first_not_of(kXmlSpace), begin.size()));
    const std::string_view end = begin.starts_with("<!--")    ? "-->"
                                 : begin.starts_with("<?xml") ? "?>"
                                                              : "";
    if (end.empty()) return begin;
    const size_t place = begin.find(end, 4);  // after "<!--"
    if (place == begin.npos) return "";
    begin.remove_prefix(place + end.size());
  }
}

bool is_called_html(const std::filesystem::path& path) {
  static const std::set<std::string> kNames = {".html", ".htm", ".xhtml", ".shtml"};
  return kNames.contains(extension_of(path));
}

bool is_unexpected_html(std::string_view begin, const std::filesystem::path& path) {
  return begins_like_html(begin) && !is_called_html(path);
}

bool begins_like_json_lines(std::string_view begin) {
  if (begin.starts_with(kByteOrderMark)) begin.remove_prefix(kByteOrderMark.size());
  int objects = 0;
  for (size_t end; objects < kJsonLines && !begin.empty();
       begin.remove_prefix(std::min(end + 1, begin.size()))) {
    end = std::min(begin.find('\n'), begin.size());
    const std::string_view line = begin.substr(0, end);
    const size_t first = line.find_first_not_of(" \t\r");
    if (first == line.npos) continue;
    if (end == begin.size() && objects > 0) break;  // the line may be cut off
    const Object object = line[first] == '{' ? object_of(line) : Object::kNone;
    if (object == Object::kNone || (object == Object::kCut && end < begin.size())) return false;
    ++objects;
  }
  return objects > 0;
}

}  // namespace mmrec
