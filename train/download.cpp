#include "train/download.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <exception>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include "runtime/error.h"
#include "train/atomic_file.h"
#include "train/byte_progress.h"
#include "train/checksum.h"
#include "train/file_descriptor.h"
#include "train/strict_json.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr long kConnectSeconds = 30;
constexpr long kStallSeconds = 60;  // without a byte
constexpr long kRedirections = 10;

/// Which file of the server a FILE.part is the beginning of.
struct Identity {
  std::string url;
  std::string validator;  // for If-Range: a strong ETag, else Last-Modified, else ""
  int64_t bytes = -1;     // of the whole file; -1: the server did not say
};

std::string lower_case(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

/// The headers of one answer.
struct Headers {
  std::string etag, last_modified, content_range;

  void take(std::string_view line) {
    const auto trimmed = [](std::string_view text) {
      const size_t begin = std::min(text.find_first_not_of(" \t\r\n"), text.size());
      return text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin);
    };
    if (line.starts_with("HTTP/")) *this = {};  // after a redirection comes another answer
    const size_t colon = std::min(line.find(':'), line.size());
    const std::string name = lower_case(line.substr(0, colon));
    const std::string_view value = trimmed(line.substr(std::min(colon + 1, line.size())));
    if (name == "etag") etag = value;
    if (name == "last-modified") last_modified = value;
    if (name == "content-range") content_range = value;
  }

  std::string validator() const { return !etag.empty() && !etag.starts_with("W/") ? etag : last_modified; }
};

/// Of "bytes 100-999/1000": {100, 1000}; nothing where it is not such a range. -1 for a total of "*".
std::optional<std::pair<int64_t, int64_t>> parse_content_range(std::string_view text) {
  int64_t first = 0, last = 0, total = -1;
  const auto number = [&](int64_t& value) {
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc()) return false;
    text.remove_prefix(static_cast<size_t>(stop - text.data()));
    return true;
  };
  const auto literal = [&](std::string_view part) {
    if (!text.starts_with(part)) return false;
    text.remove_prefix(part.size());
    return true;
  };
  if (!literal("bytes ") || !number(first) || !literal("-") || !number(last) || !literal("/")) return std::nullopt;
  if (!literal("*") && !number(total)) return std::nullopt;
  return std::pair(first, total);
}

/// FILE.part and what it is the beginning of.
class PartialFile {
 public:
  PartialFile(const Download& what)
      : path_(fs::path(what.file) += ".part"),
        description_(fs::path(what.file) += ".part.json"),
        file_("write", path_, O_WRONLY | O_CREAT, what.file) {
    if (::flock(file_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
      fail("{}: another process is downloading it now; wait for it, or choose another --out", what.file.string());
    bytes_ = file_.size();
    if (bytes_ > 0 && fs::exists(description_)) {
      try {
        const nlohmann::json json = parse_json(read_file(description_), description_.string());
        identity_ = {json.at("url"), json.at("validator"), json.at("bytes")};
      } catch (const std::exception&) {  // then nobody knows what the part is of
      }
    }
    if (identity_.url != what.url || !can_go_on()) begin({});
    file_.seek(bytes_);
  }

  int64_t bytes() const { return bytes_; }
  const Identity& identity() const { return identity_; }
  bool is_complete() const { return bytes_ > 0 && bytes_ == identity_.bytes; }
  /// Whether the server can be asked for the rest and will know whether it is that of the same file.
  bool can_go_on() const { return bytes_ > 0 && !identity_.validator.empty(); }

  /// Starts over.
  void begin(Identity identity) {
    identity_ = std::move(identity);
    file_.truncate(0);
    file_.seek(0);
    bytes_ = 0;
    if (!identity_.url.empty())
      write_file_atomically(description_,
                            nlohmann::json{{"url", identity_.url}, {"validator", identity_.validator}, {"bytes", identity_.bytes}}.dump(2) + "\n");
  }
  void append(std::span<const std::byte> bytes) {
    file_.write(bytes);
    bytes_ += static_cast<int64_t>(bytes.size());
  }
  void finish(const fs::path& target) {
    file_.flush();
    rename_file(path_, target);
    fs::remove(description_);
  }

 private:
  fs::path path_, description_;
  FileDescriptor file_;
  int64_t bytes_ = 0;
  Identity identity_;
};

/// One request for what is missing of a file.
class Request {
 public:
  Request(const Download& what, PartialFile& part, Console& console, const std::function<void()>& check_stop)
      : what_(what), part_(part), console_(console), check_stop_(check_stop), curl_(::curl_easy_init(), ::curl_easy_cleanup) {
    if (!curl_) fail("libcurl cannot be used: curl_easy_init failed");
    set(CURLOPT_URL, what.url.c_str());
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    set(CURLOPT_FOLLOWLOCATION, 1L);
    set(CURLOPT_MAXREDIRS, kRedirections);
    set(CURLOPT_FAILONERROR, 1L);
    set(CURLOPT_USERAGENT, "mmrec-prepare");
    set(CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
    set(CURLOPT_LOW_SPEED_LIMIT, 1L);
    set(CURLOPT_LOW_SPEED_TIME, kStallSeconds);
    set(CURLOPT_ERRORBUFFER, message_.data());
    set(CURLOPT_HEADERFUNCTION, &Request::on_header);
    set(CURLOPT_HEADERDATA, this);
    set(CURLOPT_WRITEFUNCTION, &Request::on_body);
    set(CURLOPT_WRITEDATA, this);
    set(CURLOPT_NOPROGRESS, 0L);
    set(CURLOPT_XFERINFOFUNCTION, &Request::on_progress);
    set(CURLOPT_XFERINFODATA, this);
    if (part.can_go_on()) {
      set(CURLOPT_RANGE, fmt::format("{}-", part.bytes()).c_str());
      lines_.reset(::curl_slist_append(nullptr, ("If-Range: " + part.identity().validator).c_str()));
      set(CURLOPT_HTTPHEADER, lines_.get());
    }
  }

  /// Whether the file is complete now. If not, it is worth another try. Throws an Error where that makes no sense.
  bool perform() {
    const CURLcode code = ::curl_easy_perform(curl_.get());
    if (thrown_) std::rethrow_exception(thrown_);
    ::curl_easy_getinfo(curl_.get(), CURLINFO_RESPONSE_CODE, &status_);
    if (code == CURLE_OK && !started_ && status_ == 200) begin_body();  // an empty file
    const int64_t expected = part_.identity().bytes;
    if (code == CURLE_OK && (expected < 0 || part_.bytes() == expected)) return true;
    problem_ = message_[0] ? message_.data() : ::curl_easy_strerror(code);
    switch (code) {
      case CURLE_OK:
        problem_ = fmt::format("{} of {} bytes came", part_.bytes(), expected);
        part_.begin({});
        return false;
      case CURLE_HTTP_RETURNED_ERROR:
        return answer_error();
      case CURLE_URL_MALFORMAT:
      case CURLE_UNSUPPORTED_PROTOCOL:
        fail_usage("--url {}: not an http or https URL ({})", what_.url, problem_);
      case CURLE_COULDNT_RESOLVE_HOST:
      case CURLE_COULDNT_RESOLVE_PROXY:
        fail("{}: the server is not found ({}); check the network and the URL", what_.url, problem_);
      case CURLE_PEER_FAILED_VERIFICATION:
      case CURLE_SSL_CACERT_BADFILE:
        fail("{}: the server's certificate is not trusted ({}); check the clock and Debian's package ca-certificates", what_.url, problem_);
      case CURLE_TOO_MANY_REDIRECTS:
        fail("{}: redirected more than {} times; check the URL", what_.url, kRedirections);
      case CURLE_COULDNT_CONNECT:
      case CURLE_GOT_NOTHING:
      case CURLE_HTTP2:
      case CURLE_HTTP2_STREAM:
      case CURLE_OPERATION_TIMEDOUT:
      case CURLE_PARTIAL_FILE:
      case CURLE_RECV_ERROR:
      case CURLE_SEND_ERROR:
      case CURLE_SSL_CONNECT_ERROR:
        return false;
      default:
        fail("{}: {}", what_.url, problem_);
    }
  }

  /// Why the file is not complete, in words.
  const std::string& problem() const { return problem_; }
  /// How long the server asks to wait.
  milliseconds wait_asked() const {
    curl_off_t seconds = 0;
    ::curl_easy_getinfo(curl_.get(), CURLINFO_RETRY_AFTER, &seconds);
    return std::chrono::seconds(std::clamp<curl_off_t>(seconds, 0, kStallSeconds));
  }

 private:
  template <class T>
  void set(CURLoption option, T value) {
    if (const CURLcode code = ::curl_easy_setopt(curl_.get(), option, value); code != CURLE_OK)
      fail("libcurl cannot be used: option {}: {}", static_cast<int>(option), ::curl_easy_strerror(code));
  }

  bool answer_error() {
    problem_ = fmt::format("the server answers {}", status_);
    switch (status_) {
      case 404:
      case 410:
        fail("{}: the server has no such file (it answers {}); check the URL", what_.url, status_);
      case 401:
      case 403:
        fail("{}: the server denies access (it answers {}); get the file in another way and give it with --input-file", what_.url, status_);
      case 416:  // the part is longer than the server's file, which must be another one
        part_.begin({});
        return false;
      case 408:
      case 429:
        return false;
      default:
        if (status_ >= 500) return false;
        fail("{}: the server answers {}; check the URL", what_.url, status_);
    }
  }

  /// What follows is the rest of the part, or a file from its beginning.
  void begin_body() {
    started_ = true;
    ::curl_easy_getinfo(curl_.get(), CURLINFO_RESPONSE_CODE, &status_);
    curl_off_t length = -1;
    ::curl_easy_getinfo(curl_.get(), CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (status_ == 206) {
      const auto range = parse_content_range(headers_.content_range);
      if (!range || range->first != part_.bytes() || (range->second >= 0 && range->second != part_.identity().bytes))
        fail("{}: asked for the bytes from {} of {}, the server sends '{}'; delete {}.part and try again", what_.url, part_.bytes(),
             part_.identity().bytes, headers_.content_range, what_.file.string());
    } else {
      part_.begin({what_.url, headers_.validator(), length});
    }
    progress_.emplace(console_, "downloading", std::max<int64_t>(part_.identity().bytes, 0), part_.bytes());
  }

  /// libcurl is C: exceptions wait until it has returned.
  template <class Body>
  bool guarded(Body body) {
    try {
      body();
      return true;
    } catch (...) {
      thrown_ = std::current_exception();
      return false;
    }
  }

  static size_t on_header(char* data, size_t size, size_t count, void* self) {
    static_cast<Request*>(self)->headers_.take({data, size * count});
    return size * count;
  }
  static size_t on_body(char* data, size_t size, size_t count, void* self) {
    Request& request = *static_cast<Request*>(self);
    const bool good = request.guarded([&] {
      if (!request.started_) request.begin_body();
      request.part_.append(std::as_bytes(std::span(data, size * count)));
    });
    return good ? size * count : CURL_WRITEFUNC_ERROR;
  }
  static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    Request& request = *static_cast<Request*>(self);
    const bool good = request.guarded([&] {
      request.check_stop_();
      if (request.progress_) request.progress_->update(request.part_.bytes());
    });
    return good ? 0 : 1;
  }

  const Download& what_;
  PartialFile& part_;
  Console& console_;
  const std::function<void()>& check_stop_;
  std::unique_ptr<CURL, decltype(&::curl_easy_cleanup)> curl_;
  std::unique_ptr<curl_slist, decltype(&::curl_slist_free_all)> lines_{nullptr, ::curl_slist_free_all};
  std::array<char, CURL_ERROR_SIZE> message_{};
  std::string problem_;
  Headers headers_;
  std::optional<ByteProgress> progress_;
  std::exception_ptr thrown_;
  long status_ = 0;
  bool started_ = false;
};

void wait(milliseconds time, const std::function<void()>& check_stop) {
  constexpr milliseconds kSlice{50};
  for (; time > milliseconds(0); time -= kSlice) {
    check_stop();
    std::this_thread::sleep_for(std::min(time, kSlice));
  }
}

void check_sha256(const Download& what, const fs::path& file, Console& console, const std::function<void()>& check_stop) {
  if (what.sha256.empty()) return;
  ByteProgress progress(console, "checking", static_cast<int64_t>(fs::file_size(file)));
  const std::string sha256 = sha256_of_file(file, [&](int64_t bytes) {
    check_stop();
    progress.update(bytes);
  });
  if (sha256 != lower_case(what.sha256))
    fail("{}: its SHA-256 is {}, not {} as it should be; delete it to download it again", file.string(), sha256, what.sha256);
}

}  // namespace

void download(const Download& what, Console& console, const std::function<void()>& check_stop) {
  static const CURLcode initialised = ::curl_global_init(CURL_GLOBAL_DEFAULT);
  if (initialised != CURLE_OK) fail("libcurl cannot be used: {}", ::curl_easy_strerror(initialised));
  if (fs::exists(what.file)) {
    console.line(fmt::format("{} is there already: not downloaded again", what.file.string()));
    return check_sha256(what, what.file, console, check_stop);
  }

  PartialFile part(what);
  if (part.bytes() > 0) console.line(fmt::format("going on with {}.part, of which {} are there", what.file.string(), format_bytes(part.bytes())));
  int64_t most = part.bytes();
  milliseconds delay = what.first_wait;
  for (int failures = 0; !part.is_complete();) {
    Request request(what, part, console, check_stop);
    if (request.perform()) break;
    if (part.bytes() > most) {
      most = part.bytes();
      failures = 0;
      delay = what.first_wait;
    }
    if (++failures > what.retries)
      fail("{}: {}, {} times in a row; try again later, the download then goes on where it is", what.url, request.problem(), failures);
    const milliseconds pause = std::max(delay, request.wait_asked());
    console.line(
        fmt::format("{}: trying again in {:.1f} s ({} of {})", request.problem(), static_cast<double>(pause.count()) / 1000, failures, what.retries),
        Style::kWarning);
    wait(pause, check_stop);
    delay *= 2;
  }
  part.finish(what.file);
  check_sha256(what, what.file, console, check_stop);
}

std::string file_name_of(const std::string& url) {
  const std::unique_ptr<CURLU, decltype(&::curl_url_cleanup)> parsed(::curl_url(), ::curl_url_cleanup);
  char *scheme = nullptr, *path = nullptr;
  std::string name;
  bool good = parsed && ::curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) == CURLUE_OK &&
              ::curl_url_get(parsed.get(), CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK;
  good = good && (std::string_view(scheme) == "http" || std::string_view(scheme) == "https");
  if (good && ::curl_url_get(parsed.get(), CURLUPART_PATH, &path, CURLU_URLDECODE) == CURLUE_OK) name = fs::path(path).filename().string();
  ::curl_free(scheme);
  ::curl_free(path);
  if (!good) fail_usage("--url {}: not an http or https URL", url);
  return name.empty() || name == "." || name == ".." ? "download" : name;
}

}  // namespace mmrec
