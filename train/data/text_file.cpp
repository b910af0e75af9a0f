#include "train/data/text_file.h"

#include <fcntl.h>
#include <zlib.h>

#include <algorithm>
#include <cctype>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/error.h"
#include "support/file_descriptor.h"
#include "train/data/file_kind.h"
#include "train/data/tokenizer.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPiece = size_t{1} << 20;         // bytes
constexpr size_t kLongestLine = size_t{32} << 20;  // bytes
// digits; with a one-digit exponent still in a double's range
constexpr size_t kLongestInteger = 290;

/// Returns the number of bytes at the end that begin an unfinished character. Does not check that
/// they are valid UTF-8.
size_t unfinished_bytes(std::string_view text) {
  constexpr size_t kLongest = 4;
  for (size_t back = 1; back <= std::min(kLongest - 1, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;  // continues a character
    const size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}

/// SAX handler: extracts one string field of a JSON object without storing the others.
class TextField : public nlohmann::json_sax<nlohmann::json> {
 public:
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
    if (text) return stop("the field \"text\" occurs twice");
    text = std::move(value);
    return true;
  }
  bool key(string_t& name) override {
    is_text_ = depth_ == 1 && name == "text";
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
      return stop(fmt::format("the field \"text\" is {}, not a string", kind));
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

  int depth_ = 0;
  bool is_text_ = false;  // the next value belongs to the top-level field "text"
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

/// Handles one line. Returns whether part of its text was replaced by U+FFFD.
bool visit_json_line(std::string_view line, const fs::path& path, int64_t number, int64_t offset,
                     const std::function<void(std::string_view)>& visit) {
  if (line.find_first_not_of(" \t\r") == line.npos) return false;
  TextField field;
  nlohmann::json::sax_parse(line.begin(), line.end(), &field);
  bool is_changed = false;
  if (field.is_broken) {
    const std::string changed = within_limits(line);
    if ((is_changed = changed != line)) {
      field = {};
      nlohmann::json::sax_parse(changed.begin(), changed.end(), &field);
      field.problem_byte = 0;  // its position refers to the changed line
    }
  }
  if (field.problem.empty() && !field.text) field.problem = "there is no field \"text\"";
  if (!field.problem.empty())
    fail(
        "{}: line {} (byte {}): {}; a file of JSON lines has an object with a field \"text\" in "
        "each",
        path.string(), number,
        offset + static_cast<int64_t>(std::max<size_t>(field.problem_byte, 1)) - 1, field.problem);
  visit(*field.text);
  return is_changed && field.text->find(kReplacementCharacter) != std::string::npos;
}

}  // namespace

/// A file's raw bytes and the state of zlib. zlib's gzread treats data after a member that is not a
/// member as the end: it would silently drop a damaged member.
struct PlainReader::Source {
  Source(const fs::path& path, Sha256* digest)
      : file("read", path, O_RDONLY), opened(file.stamp()), digest(digest) {}
  ~Source() {
    if (compressed) ::inflateEnd(&stream);
  }

  /// Returns whether unread input is available; reads more if needed.
  bool refill() {
    if (stream.avail_in > 0) return true;
    stream.next_in = reinterpret_cast<Bytef*>(buffer.data());
    stream.avail_in = static_cast<uInt>(file.read(std::as_writable_bytes(std::span(buffer))));
    if (digest) digest->update(std::as_bytes(std::span(buffer).first(stream.avail_in)));
    taken += stream.avail_in;
    return stream.avail_in > 0;
  }
  /// Skips padding: zeros may follow the last member, to fill a block. Returns false at the end.
  bool skip_zeros() {
    while (refill()) {
      for (; stream.avail_in > 0; --stream.avail_in, ++stream.next_in)
        if (*stream.next_in != 0) return true;
    }
    return false;
  }

  FileDescriptor file;
  FileStamp opened;
  Sha256* digest;
  std::vector<char> buffer = std::vector<char>(kPiece / 4);
  z_stream stream{};
  int64_t taken = 0;  // bytes read from the file
  bool compressed = false, within_member = false;
};

PlainReader::PlainReader(fs::path path, Sha256* digest) : path_(std::move(path)) {
  if (const fs::file_type kind = kind_of_file(path_);
      kind != fs::file_type::regular && kind != fs::file_type::not_found)
    fail("cannot read {}: it is not a regular file", path_.string());
  source_ = std::make_unique<Source>(path_, digest);
  constexpr char kMagic[] = {'\x1f', '\x8b'};
  source_->compressed =
      source_->refill() &&
      std::string_view(source_->buffer.data(), source_->stream.avail_in).starts_with({kMagic, 2});
  constexpr int kGzip = 16;
  if (source_->compressed && ::inflateInit2(&source_->stream, MAX_WBITS + kGzip) != Z_OK)
    throw std::bad_alloc();
}

PlainReader::~PlainReader() = default;

size_t PlainReader::read(std::span<char> bytes) {
  z_stream& stream = source_->stream;
  stream.next_out = reinterpret_cast<Bytef*>(bytes.data());
  stream.avail_out = static_cast<uInt>(bytes.size());
  while (stream.avail_out > 0) {
    if (!source_->compressed) {
      if (!source_->refill()) break;
      const uInt count = std::min(stream.avail_in, stream.avail_out);
      std::copy_n(stream.next_in, count, stream.next_out);
      stream.next_in += count, stream.next_out += count;
      stream.avail_in -= count, stream.avail_out -= count;
      continue;
    }
    if (!source_->within_member) {
      if (!source_->skip_zeros()) break;
      ::inflateReset(&stream);
      source_->within_member = true;
    }
    if (!source_->refill())
      fail("{}: the compressed data ends too early; the file is incomplete, get it again",
           path_.string());
    const int code = ::inflate(&stream, Z_NO_FLUSH);
    if (code != Z_OK && code != Z_STREAM_END)
      fail("{}: the compressed data is damaged before byte {}; get the file again", path_.string(),
           bytes_read());
    source_->within_member = code == Z_OK;
  }
  return bytes.size() - stream.avail_out;
}

int64_t PlainReader::bytes_read() const { return source_->taken - source_->stream.avail_in; }

bool PlainReader::is_compressed() const { return source_->compressed; }

bool PlainReader::was_changed() const { return source_->file.stamp() != source_->opened; }

namespace {

/// Calls visit(piece, offset) with pieces that end between characters. First calls begin() with the
/// first bytes; it returns how many of them to skip.
void read_pieces(PlainReader& reader, const fs::path& path,
                 const std::function<size_t(std::string_view)>& begin,
                 const std::function<void(std::string_view, int64_t)>& visit,
                 const ReadObserver& observe) {
  std::string room(kPiece, '\0');
  size_t kept = 0;     // bytes of an unfinished character, at the start of `room`
  int64_t offset = 0;  // of the first byte in `room`
  for (bool first = true;; first = false) {
    const size_t got = reader.read(std::span(room).subspan(kept));
    std::string_view all(room.data(), kept + got);
    const bool last = all.size() < room.size();
    if (first) {
      const size_t skipped = begin(all);
      all.remove_prefix(skipped);
      offset += static_cast<int64_t>(skipped);
    }
    const std::string_view piece = all.substr(0, all.size() - (last ? 0 : unfinished_bytes(all)));
    check_utf8(piece, path.string(), offset);
    if (!piece.empty()) visit(piece, offset);
    observe(reader.bytes_read());
    if (last) return;
    offset += static_cast<int64_t>(piece.size());
    kept = all.size() - piece.size();
    std::copy(all.end() - static_cast<ptrdiff_t>(kept), all.end(), room.begin());
  }
}

/// The same for a user's file: inspects it and skips a byte order mark. begin(text) receives its
/// first bytes.
FileFacts read_and_look(const fs::path& path, const std::function<void(std::string_view)>& begin,
                        const std::function<void(std::string_view, int64_t)>& visit,
                        const ReadObserver& observe) {
  Sha256 digest;
  PlainReader reader(path, &digest);
  size_t skipped = 0;
  const auto look = [&](std::string_view bytes) {
    check_begins_like_text(bytes, path, reader.is_compressed());
    if (bytes.starts_with(kByteOrderMark)) skipped = kByteOrderMark.size();
    begin(bytes.substr(skipped));
    return skipped;
  };
  read_pieces(reader, path, look, visit, observe);
  return {.path = path,
          .bytes = reader.bytes_read(),
          .sha256 = digest.hex(),
          .is_compressed = reader.is_compressed(),
          .has_mark = skipped > 0,
          .was_changed = reader.was_changed()};
}

int64_t count_zeros(std::string_view text) {
  int64_t count = 0;
  for (size_t place = text.find('\0'); place != text.npos; place = text.find('\0', place + 1))
    ++count;
  return count;
}

}  // namespace

FileFacts read_text(const fs::path& path, const std::function<void(std::string_view)>& visit,
                    const ReadObserver& observe) {
  bool is_html = false, has_json = false;
  int64_t zeros = 0;
  FileFacts facts = read_and_look(
      path,
      [&](std::string_view text) {
        is_html = is_unexpected_html(text, path);
        has_json = begins_like_json_lines(text);
      },
      [&](std::string_view piece, int64_t) {
        zeros += count_zeros(piece);
        visit(piece);
      },
      observe);
  facts.is_html = is_html;
  facts.has_json = has_json;
  facts.zeros = zeros;
  return facts;
}

void read_own_text(const fs::path& path, const std::function<void(std::string_view)>& visit,
                   const ReadObserver& observe) {
  PlainReader reader(path);
  read_pieces(
      reader, path, [](std::string_view) { return 0; },
      [&](std::string_view piece, int64_t) { visit(piece); }, observe);
}

FileFacts read_json_lines(const fs::path& path, const std::function<void(std::string_view)>& visit,
                          const ReadObserver& observe) {
  std::string begun;               // a line that continues in the next piece
  int64_t number = 1, offset = 0;  // of the current line
  int64_t zeros = 0, replaced = 0;
  const auto visit_text = [&](std::string_view text) {
    zeros += count_zeros(text);
    visit(text);
  };
  const auto finish_line = [&](std::string_view line, size_t bytes) {
    if (visit_json_line(line, path, number, offset, visit_text)) ++replaced;
    ++number;
    offset += static_cast<int64_t>(bytes);
  };
  FileFacts facts = read_and_look(
      path, [](std::string_view) {},
      [&](std::string_view piece, int64_t place) {
        if (number == 1 && begun.empty()) offset = place;
        for (size_t end; (end = piece.find('\n')) != piece.npos; piece.remove_prefix(end + 1)) {
          if (begun.empty()) {
            finish_line(piece.substr(0, end), end + 1);
          } else {
            begun += piece.substr(0, end);
            finish_line(begun, begun.size() + 1);
            begun.clear();
          }
        }
        begun += piece;
        if (begun.size() > kLongestLine)
          fail(
              "{}: line {} (byte {}) is longer than {} bytes; are these JSON lines, one object a "
              "line?",
              path.string(), number, offset, kLongestLine);
      },
      observe);
  finish_line(begun, begun.size());
  facts.zeros = zeros;
  facts.replaced = replaced;
  return facts;
}

}  // namespace mmrec
