#include "train/data/text_file.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/error.h"
#include "train/data/file_kind.h"
#include "train/data/plain_reader.h"
#include "train/data/tokenizer.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPiece = size_t{1} << 20;         // bytes
constexpr size_t kLongestLine = size_t{32} << 20;  // bytes
constexpr const char* kNoText = "no text in UTF-8";
// digits; with a one-digit exponent still in a double's range
constexpr size_t kLongestInteger = 290;

/// SAX handler: extracts one string field of a JSON object without storing the others.
class TextField : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit TextField(std::string_view name) : name_(name) {}

  std::optional<std::string> text;
  std::string problem;      // why the line is rejected, or ""
  size_t problem_byte = 0;  // of invalid JSON, from 1; 0: unknown
  bool is_broken = false;   // the library cannot parse the line

  bool null() override { return plain("null"); }
  bool boolean(bool) override { return plain("a boolean"); }
  bool number_integer(number_integer_t) override { return plain("a number"); }
  bool number_unsigned(number_unsigned_t) override { return plain("a number"); }
  bool number_float(number_float_t, const string_t&) override { return plain("a number"); }
  bool binary(binary_t&) override { return plain("binary data"); }
  bool string(string_t& value) override {
    if (depth_ != 1 || !is_text_) return plain("a string");
    if (text) return stop(fmt::format("the field \"{}\" occurs twice", name_));
    text = std::move(value);
    return true;
  }
  bool key(string_t& name) override {
    is_text_ = depth_ == 1 && name == name_;
    return true;
  }
  bool start_object(size_t) override { return begin("an object"); }
  bool end_object() override { return end(); }
  bool start_array(size_t) override { return begin("an array"); }
  bool end_array() override { return end(); }
  bool parse_error(size_t byte, const std::string&, const nlohmann::detail::exception&) override {
    problem_byte = byte;
    is_broken = true;
    return stop("not valid JSON here");
  }

 private:
  bool stop(std::string why) {
    problem = std::move(why);
    return false;
  }
  bool plain(const char* kind) {
    if (depth_ == 0) return stop(fmt::format("{} instead of an object", kind));
    if (depth_ == 1 && is_text_)
      return stop(fmt::format("the field \"{}\" is {}, not a string", name_, kind));
    return true;
  }
  bool begin(const char* kind) {
    const bool is_line = depth_ == 0 && std::string_view(kind) == "an object";
    if (!is_line && !plain(kind)) return false;
    ++depth_;
    is_text_ = false;
    return true;
  }
  bool end() {
    --depth_;
    return true;
  }

  std::string_view name_;
  int depth_ = 0;
  bool is_text_ = false;  // the next value belongs to the top-level field name_
};

/// Returns the value of \uXXXX at `place`; nullopt if there is no such escape.
std::optional<uint32_t> escaped_unit(std::string_view line, size_t place) {
  if (line.size() < place + 6 || line[place] != '\\' || line[place + 1] != 'u') return std::nullopt;
  const auto digits = line.substr(place + 2, 4);
  if (!std::ranges::all_of(digits, [](unsigned char c) { return std::isxdigit(c); }))
    return std::nullopt;
  return static_cast<uint32_t>(std::stoul(std::string(digits), nullptr, 16));
}

/// Rewrites valid JSON that the library cannot represent: numbers beyond a double become smaller
/// numbers, halves of a UTF-16 pair become U+FFFD. Invalid JSON stays invalid.
std::string within_limits(std::string_view line) {
  std::string result;
  bool is_string = false;
  for (size_t place = 0; place < line.size();) {
    const auto take = [&](size_t count) {
      result += line.substr(place, count);
      place += std::min(count, line.size() - place);
    };
    if (line[place] == '"') {
      is_string = !is_string;
      take(1);
    } else if (is_string && line[place] == '\\') {
      const auto unit = escaped_unit(line, place), next = escaped_unit(line, place + 6);
      const bool is_first = unit && *unit >= 0xD800 && *unit < 0xDC00,
                 is_second = unit && *unit >= 0xDC00 && *unit < 0xE000;
      if (is_first && next && *next >= 0xDC00 && *next < 0xE000) {
        take(12);
      } else if (is_first || is_second) {
        result += kReplacementCharacter;
        place += 6;
      } else {
        take(2);
      }
    } else if (!is_string && std::isdigit(static_cast<unsigned char>(line[place]))) {
      const size_t digits =
          std::min(line.find_first_not_of("0123456789", place), line.size()) - place;
      const size_t sign = result.find_last_not_of("+-");
      const bool is_exponent = sign != result.npos && (result[sign] == 'e' || result[sign] == 'E');
      // Keep two digits: an invalid number that begins with 00 must stay invalid.
      result += line.substr(place, is_exponent ? 1 : digits > kLongestInteger ? 2 : digits);
      place += digits;
    } else {
      take(1);
    }
  }
  return result;
}

/// What a line of JSON holds.
struct Line {
  std::string text;
  std::string problem;      // why there is no text, or ""
  size_t problem_byte = 0;  // from 0
  bool has_field = false;
  bool is_replaced = false;  // part of the text was replaced by U+FFFD
};

Line parse_line(std::string_view line, std::string_view name) {
  TextField field(name);
  nlohmann::json::sax_parse(line.begin(), line.end(), &field);
  bool is_changed = false;
  if (field.is_broken) {
    const std::string changed = within_limits(line);
    if ((is_changed = changed != line)) {
      field = TextField(name);
      nlohmann::json::sax_parse(changed.begin(), changed.end(), &field);
      field.problem_byte = 0;  // its position refers to the changed line
    }
  }
  const bool has_field = field.text || !field.problem.empty();
  if (!has_field) field.problem = fmt::format("there is no field \"{}\"", name);
  Line result{.text = std::move(field.text).value_or(""),
              .problem = std::move(field.problem),
              .problem_byte = std::max<size_t>(field.problem_byte, 1) - 1,
              .has_field = has_field};
  result.is_replaced = is_changed && result.text.find(kReplacementCharacter) != std::string::npos;
  return result;
}

/// Calls visit(piece, offset) with pieces that end between characters, if it is UTF-8. First calls
/// begin() with the first bytes; it returns how many of them to skip.
void read_pieces(ByteSource& source, const std::function<size_t(std::string_view)>& begin,
                 const std::function<void(std::string_view, int64_t)>& visit,
                 const std::function<void()>& observe) {
  std::string room(kPiece, '\0');
  size_t kept = 0;     // bytes of an unfinished character, at the start of `room`
  int64_t offset = 0;  // of the first byte in `room`
  for (bool first = true;; first = false) {
    const size_t got = source.read(std::span(room).subspan(kept));
    std::string_view all(room.data(), kept + got);
    const bool last = all.size() < room.size();
    if (first) {
      const size_t skipped = begin(all);
      all.remove_prefix(skipped);
      offset += static_cast<int64_t>(skipped);
    }
    const std::string_view piece = all.substr(0, all.size() - (last ? 0 : unfinished_bytes(all)));
    if (!piece.empty()) visit(piece, offset);
    observe();
    if (last) return;
    offset += static_cast<int64_t>(piece.size());
    kept = all.size() - piece.size();
    std::copy(all.end() - static_cast<ptrdiff_t>(kept), all.end(), room.begin());
  }
}

/// Receives a file's first bytes, perhaps with a byte order mark.
using Begin = std::function<void(std::string_view bytes, bool is_compressed)>;

bool is_member(const DataFile& file) { return file.copy && file.layers > 0; }

/// Like read_pieces, for a user's file, without its byte order mark. may_end_early: where
/// compressed data is damaged.
FileFacts read_user_file(const DataFile& file, const Begin& begin,
                         const std::function<void(std::string_view, int64_t)>& visit,
                         const ReadObserver& observe, bool may_end_early = false) {
  Sha256 digest;
  PlainReader reader(file, &digest);
  size_t skipped = 0;
  const auto look = [&](std::string_view bytes) {
    if (bytes.starts_with(kByteOrderMark)) skipped = kByteOrderMark.size();
    begin(bytes, reader.compression() != Packing::kNone);
    return skipped;
  };
  bool ends_early = false;
  try {
    read_pieces(reader, look, visit, [&] { observe(reader.bytes_read()); });
  } catch (const DamagedData&) {
    if (!may_end_early) throw;
    ends_early = true;
  }
  const auto [bytes, sha256] =
      ends_early ? checksum_of(file, observe) : Checksum{reader.bytes_read(), digest.hex()};
  return {.name = file.name,
          .bytes = bytes,
          .sha256 = sha256,
          .is_member = is_member(file),
          .compression = reader.compression(),
          .has_mark = skipped > 0,
          .was_changed = reader.was_changed(),
          .ends_early = ends_early};
}

int64_t count_zeros(std::string_view text) {
  int64_t count = 0;
  for (size_t place = text.find('\0'); place != text.npos; place = text.find('\0', place + 1))
    ++count;
  return count;
}

/// Finds the lines in pieces of a text.
class LineFinder {
 public:
  /// visit(line, offset) gets each line without its end; of a line of more than kLongestLine bytes
  /// only its first bytes, more than that.
  explicit LineFinder(std::function<void(std::string_view, int64_t)> visit)
      : visit_(std::move(visit)) {}

  void add(std::string_view piece, int64_t place) {
    if (begun_.empty() && dropped_ == 0) offset_ = place;
    for (size_t end; (end = piece.find('\n')) != piece.npos; piece.remove_prefix(end + 1)) {
      if (begun_.empty()) {
        finish(piece.substr(0, end), end + 1);
      } else {
        const size_t bytes = begun_.size() + dropped_ + end + 1;
        keep(piece.substr(0, end));
        finish(begun_, bytes);
      }
    }
    keep(piece);
  }
  void finish_last() { finish(begun_, begun_.size()); }
  bool is_too_long() const { return begun_.size() > kLongestLine; }

 private:
  void keep(std::string_view more) {
    if (begun_.size() > kLongestLine)
      dropped_ += more.size();
    else
      begun_ += more;
  }
  void finish(std::string_view line, size_t bytes) {
    visit_(line, offset_);
    offset_ += static_cast<int64_t>(bytes);
    begun_.clear();
    dropped_ = 0;
  }

  std::function<void(std::string_view, int64_t)> visit_;
  std::string begun_;   // a line that continues in the next piece
  size_t dropped_ = 0;  // bytes of it that are not in begun_
  int64_t offset_ = 0;  // of the current line
};

void check_is_utf8(std::string_view piece, const DataFile& file, int64_t place) try {
  check_utf8(piece, file.name.string(), place);
} catch (const Error& error) {
  fail("{}, or have prepare --skip-bad leave such files out", error.what());
}

bool is_utf8(std::string_view text) {
  try {
    check_utf8(text, "");
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

FileFacts left_out_file(const DataFile& file, std::string_view kind, const ReadObserver& observe) {
  const auto [bytes, sha256] = checksum_of(file, observe);
  FileFacts facts{
      .name = file.name, .bytes = bytes, .sha256 = sha256, .is_member = is_member(file)};
  facts.skipped.add(kind, file.name.string());
  facts.is_left_out = true;
  return facts;
}

FileFacts read_text(const DataFile& file, const std::function<void(std::string_view)>& visit,
                    const ReadObserver& observe) {
  bool is_html = false, has_json = false;
  int64_t zeros = 0;
  FileFacts facts = read_user_file(
      file,
      [&](std::string_view bytes, bool is_compressed) {
        check_begins_like_text(bytes, file.name, is_compressed);
        is_html = is_unexpected_html(bytes, file.name);
        has_json = begins_like_json_lines(bytes);
      },
      [&](std::string_view piece, int64_t place) {
        check_is_utf8(piece, file, place);
        zeros += count_zeros(piece);
        visit(piece);
      },
      observe);
  facts.is_html = is_html;
  facts.has_json = has_json;
  facts.zeros = zeros;
  return facts;
}

FileFacts check_text(const DataFile& file, const ReadObserver& observe) try {
  bool is_text = true;
  FileFacts facts = read_user_file(
      file,
      [&](std::string_view bytes, bool is_compressed) {
        try {
          check_begins_like_text(bytes, file.name, is_compressed);
        } catch (const Error&) {
          is_text = false;
        }
      },
      [&](std::string_view piece, int64_t) { is_text = is_text && is_utf8(piece); }, observe);
  if (!is_text) facts.skipped.add(kNoText, file.name.string());
  facts.is_left_out = !is_text;
  return facts;
} catch (const DamagedData&) {
  return left_out_file(file, "damaged", observe);
}

void read_own_text(const DataFile& file, const std::function<void(std::string_view)>& visit,
                   const ReadObserver& observe) {
  FileSource source(file);
  read_pieces(
      source, [](std::string_view) { return 0; },
      [&](std::string_view piece, int64_t place) {
        check_utf8(piece, file.name.string(), place);
        visit(piece);
      },
      [&] { observe(source.place()); });
}

FileFacts read_unchecked(const DataFile& file,
                         const std::function<void(std::string_view, int64_t)>& visit,
                         const ReadObserver& observe, bool skip_bad) {
  bool begins_like_text = true;
  try {
    return read_user_file(
        file,
        [&](std::string_view bytes, bool is_compressed) {
          begins_like_text = false;
          check_begins_like_text(bytes, file.name, is_compressed);
          begins_like_text = true;
        },
        visit, observe, /*may_end_early=*/skip_bad);
  } catch (const DamagedData&) {  // at its beginning
    if (!skip_bad) throw;
    return left_out_file(file, "damaged", observe);
  } catch (const Error&) {
    if (!skip_bad || begins_like_text) throw;
    return left_out_file(file, kNoText, observe);
  }
}

FileFacts read_json_lines(const DataFile& file, const std::function<void(std::string_view)>& visit,
                          const ReadObserver& observe, const ReadOptions& options) {
  int64_t number = 0, zeros = 0, replaced = 0;
  LeftOut skipped;
  const auto reject = [&](std::string_view kind, int64_t byte, std::string_view problem) {
    if (!options.skip_bad)
      fail("{}: line {} (byte {}){}", file.name.string(), number, byte, problem);
    skipped.add(kind, fmt::format("{} line {}", file.name.string(), number));
  };
  LineFinder lines([&](std::string_view text, int64_t offset) {
    ++number;
    if (text.size() > kLongestLine)
      return reject(
          "too long", offset,
          fmt::format(" is longer than {} bytes; are these JSON lines, one object a line?",
                      kLongestLine));
    if (options.skip_bad && !is_utf8(text)) return reject("not UTF-8", offset, "");
    if (text.find_first_not_of(" \t\r") == text.npos) return;
    const Line line = parse_line(text, options.text_field);
    if (!line.problem.empty())
      return reject(
          line.has_field ? "damaged" : fmt::format("without the field \"{}\"", options.text_field),
          offset + static_cast<int64_t>(line.problem_byte),
          fmt::format(": {}; a file of JSON lines has an object with a field \"{}\" in "
                      "each",
                      line.problem, options.text_field));
    zeros += count_zeros(line.text);
    if (line.is_replaced) ++replaced;
    visit(line.text);
  });
  FileFacts facts = read_unchecked(
      file,
      [&](std::string_view piece, int64_t place) {
        if (!options.skip_bad) check_is_utf8(piece, file, place);
        lines.add(piece, place);
        if (!options.skip_bad && lines.is_too_long()) lines.finish_last();
      },
      observe, options.skip_bad);
  if (facts.ends_early)
    skipped.add("damaged", fmt::format("{} from line {} on", file.name.string(), number + 1));
  else
    lines.finish_last();
  facts.zeros = zeros;
  facts.replaced = replaced;
  facts.skipped.add(skipped);
  return facts;
}

}  // namespace mmrec
