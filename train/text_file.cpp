#include "train/text_file.h"

#include <fcntl.h>
#include <zlib.h>

#include <algorithm>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/error.h"
#include "train/file_descriptor.h"
#include "train/tokenizer.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPiece = size_t{1} << 20;         // bytes
constexpr size_t kLongestLine = size_t{32} << 20;  // bytes
constexpr size_t kLongestMessage = 200;            // bytes: it quotes what it cannot read

/// The bytes at the end that begin a character and do not end it. Whether they are UTF-8 is not their question.
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

/// Finds a string field of one JSON object without keeping the others.
class TextField : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::optional<std::string> text;
  std::string problem;      // why the line is none that we read, or ""
  size_t problem_byte = 0;  // of broken JSON: from 1; 0: none in particular

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
  bool parse_error(size_t byte, const std::string&, const nlohmann::detail::exception& error) override {
    std::string_view message = error.what();  // "[json.exception.parse_error.101] parse error at line 1, column 5: .."
    if (const size_t place_end = message.find(": "); place_end != message.npos) message.remove_prefix(place_end + 2);
    if (message.size() > kLongestMessage) message = message.substr(0, kLongestMessage - unfinished_bytes(message.substr(0, kLongestMessage)));
    problem_byte = byte;
    return stop(fmt::format("not valid JSON: {}", message));
  }

 private:
  bool stop(std::string why) {
    problem = std::move(why);
    return false;
  }
  bool plain(const char* kind) {
    if (depth_ == 0) return stop(fmt::format("{} instead of an object", kind));
    if (depth_ == 1 && is_text_) return stop(fmt::format("the field \"text\" is {}, not a string", kind));
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
  bool is_text_ = false;  // the value that comes is that of the line's own field "text"
};

void visit_json_line(std::string_view line, const fs::path& path, int64_t number, int64_t offset,
                     const std::function<void(std::string_view)>& visit) {
  if (line.find_first_not_of(" \t\r") == line.npos) return;
  TextField field;
  nlohmann::json::sax_parse(line.begin(), line.end(), &field);
  if (field.problem.empty() && !field.text) field.problem = "there is no field \"text\"";
  if (!field.problem.empty())
    fail("{}: line {} (byte {}): {}; a file of JSON lines has an object with a field \"text\" in each", path.string(), number,
         offset + static_cast<int64_t>(std::max<size_t>(field.problem_byte, 1)) - 1, field.problem);
  visit(*field.text);
}

}  // namespace

/// A file's own bytes, and how far zlib is with them. zlib's functions for files (gzread) take what follows a member and is no member
/// for the end, so that a damaged member would be lost without a word.
struct PlainReader::Source {
  explicit Source(const fs::path& path) : file("read", path, O_RDONLY) {}
  ~Source() {
    if (compressed) ::inflateEnd(&stream);
  }

  /// Whether there are bytes that have not been taken.
  bool refill() {
    if (stream.avail_in > 0) return true;
    stream.next_in = reinterpret_cast<Bytef*>(buffer.data());
    stream.avail_in = static_cast<uInt>(file.read(std::as_writable_bytes(std::span(buffer))));
    taken += stream.avail_in;
    return stream.avail_in > 0;
  }
  /// Zeros may follow the last member, to fill a block.
  bool skip_zeros() {
    while (refill()) {
      for (; stream.avail_in > 0; --stream.avail_in, ++stream.next_in)
        if (*stream.next_in != 0) return true;
    }
    return false;
  }

  FileDescriptor file;
  std::vector<char> buffer = std::vector<char>(kPiece / 4);
  z_stream stream{};
  int64_t taken = 0;  // bytes of the file
  bool compressed = false, within_member = false;
};

PlainReader::PlainReader(fs::path path) : path_(std::move(path)) {
  std::error_code error;
  if (fs::exists(path_, error) && !fs::is_regular_file(path_, error)) fail("cannot read {}: it is not a regular file", path_.string());
  source_ = std::make_unique<Source>(path_);
  constexpr char kMagic[] = {'\x1f', '\x8b'};
  source_->compressed = source_->refill() && std::string_view(source_->buffer.data(), source_->stream.avail_in).starts_with({kMagic, 2});
  constexpr int kGzip = 16;
  if (source_->compressed && ::inflateInit2(&source_->stream, MAX_WBITS + kGzip) != Z_OK) throw std::bad_alloc();
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
    if (!source_->refill()) fail("{}: the compressed data ends too early; the file is incomplete, get it again", path_.string());
    const int code = ::inflate(&stream, Z_NO_FLUSH);
    if (code != Z_OK && code != Z_STREAM_END)
      fail("{}: the compressed data is damaged before byte {} ({}); get the file again", path_.string(), bytes_read(),
           stream.msg ? stream.msg : "it is not gzip's");
    source_->within_member = code == Z_OK;
  }
  return bytes.size() - stream.avail_out;
}

int64_t PlainReader::bytes_read() const { return source_->taken - source_->stream.avail_in; }

void read_text(const fs::path& path, const std::function<void(std::string_view)>& visit, const ReadObserver& observe) {
  PlainReader reader(path);
  std::string room(kPiece, '\0');
  size_t kept = 0;     // bytes at the room's beginning: the beginning of a character
  int64_t offset = 0;  // of the room's first byte
  for (;;) {
    const size_t got = reader.read(std::span(room).subspan(kept));
    const std::string_view all(room.data(), kept + got);
    const bool last = all.size() < room.size();
    const std::string_view piece = all.substr(0, all.size() - (last ? 0 : unfinished_bytes(all)));
    check_utf8(piece, path.string(), offset);
    if (!piece.empty()) visit(piece);
    observe(reader.bytes_read());
    if (last) return;
    offset += static_cast<int64_t>(piece.size());
    kept = all.size() - piece.size();
    std::copy(all.end() - static_cast<ptrdiff_t>(kept), all.end(), room.begin());
  }
}

void read_json_lines(const fs::path& path, const std::function<void(std::string_view)>& visit, const ReadObserver& observe) {
  std::string begun;               // of a line that goes on in the next piece
  int64_t number = 1, offset = 0;  // of the line
  const auto finish_line = [&](std::string_view line, size_t bytes) {
    visit_json_line(line, path, number, offset, visit);
    ++number;
    offset += static_cast<int64_t>(bytes);
  };
  read_text(
      path,
      [&](std::string_view piece) {
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
          fail("{}: line {} (byte {}) is longer than {} bytes; are these JSON lines, one object a line?", path.string(), number, offset,
               kLongestLine);
      },
      observe);
  finish_line(begun, begun.size());
}

}  // namespace mmrec
