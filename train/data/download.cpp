#include "train/data/download.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <charconv>
#include <exception>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include "support/atomic_file.h"
#include "support/byte_progress.h"
#include "support/error.h"
#include "support/file_descriptor.h"
#include "support/names.h"
#include "support/strict_json.h"
#include "train/data/file_kind.h"
#include "train/data/sha256.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr long kConnectSeconds = 30;
constexpr long kStallSeconds = 60;  // without a byte
constexpr long kRedirections = 10;
constexpr size_t kBeginning = 4096;  // bytes of a body, enough to tell a page from a text

constexpr std::string_view kHtml = "text/html";

/// Identifies a file on the server, of which a local file is a (possibly partial) copy.
struct Identity {
  std::string url;
  std::string validator;  // for If-Range: a strong ETag, else Last-Modified, else ""
  int64_t bytes = -1;     // of the whole file; -1: unknown
  std::string type = {};  // media type from the server
};

/// Path of FILE's description. Hidden, so that nothing reads it as a text.
fs::path description_of(const fs::path& file) {
  return file.parent_path() / ("." + file.filename().string() + ".url.json");
}
fs::path part_of(const fs::path& file) { return fs::path(file) += ".part"; }

/// Reads a description. Returns an empty Identity if it is damaged or missing.
Identity read_identity(const fs::path& description) {
  if (kind_of_file(description) != fs::file_type::regular) return {};
  try {
    const nlohmann::json json = parse_json(read_file(description), description.string());
    return {name_of_text(json.at("url").get<std::string>()),
            name_of_text(json.at("validator").get<std::string>()), json.at("bytes"),
            name_of_text(json.value("type", ""))};
  } catch (const std::exception&) {
    return {};
  }
}

/// The relevant headers of one response.
struct Headers {
  std::string etag, last_modified, content_range, content_type;

  void take(std::string_view line) {
    const auto trimmed = [](std::string_view text) {
      const size_t begin = std::min(text.find_first_not_of(" \t\r\n"), text.size());
      return text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin);
    };
    if (line.starts_with("HTTP/")) *this = {};  // a redirection is followed by another response
    const size_t colon = std::min(line.find(':'), line.size());
    const std::string name = lower_case(line.substr(0, colon));
    const std::string_view value = trimmed(line.substr(std::min(colon + 1, line.size())));
    if (name == "etag") etag = value;
    if (name == "last-modified") last_modified = value;
    if (name == "content-range") content_range = value;
    if (name == "content-type") content_type = lower_case(value);
  }

  std::string validator() const {
    return !etag.empty() && !etag.starts_with("W/") ? etag : last_modified;
  }
};

/// Parses "bytes 100-999/1000" to {100, 1000}; a total of "*" gives -1. Returns nullopt for
/// anything else.
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
  if (!literal("bytes ") || !number(first) || !literal("-") || !number(last) || !literal("/"))
    return std::nullopt;
  if (!literal("*") && !number(total)) return std::nullopt;
  return std::pair(first, total);
}

/// FILE.part and its description.
class PartialFile {
 public:
  PartialFile(const Download& what)
      : path_(part_of(what.file)),
        description_(fs::path(path_) += ".json"),
        file_("write", path_, O_WRONLY | O_CREAT, what.file) {
    const bool is_held = ::flock(file_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
    // the other process may have finished since the file was opened
    if (!is_held || !file_.is_at(path_))
      fail("{}: another process is downloading it now; wait for it, or choose another --out",
           what.file.string());
    bytes_ = file_.size();
    if (bytes_ > 0) identity_ = read_identity(description_);
    if (identity_.url != what.url.shown() || !can_go_on()) begin({});
    file_.seek(bytes_);
  }

  int64_t bytes() const { return bytes_; }
  const Identity& identity() const { return identity_; }
  bool is_complete() const { return bytes_ > 0 && bytes_ == identity_.bytes; }
  /// Returns whether the server can be asked for the rest and can verify that it belongs to the
  /// same file.
  bool can_go_on() const { return bytes_ > 0 && !identity_.validator.empty(); }

  /// Starts over with an empty part.
  void begin(Identity identity) {
    identity_ = std::move(identity);
    file_.truncate(0);
    file_.seek(0);
    bytes_ = 0;
    if (identity_.url.empty()) return;
    const nlohmann::json description = {{"url", text_of_name(identity_.url)},
                                        {"validator", text_of_name(identity_.validator)},
                                        {"bytes", identity_.bytes},
                                        {"type", text_of_name(identity_.type)}};
    write_file_atomically(description_, description.dump(2) + "\n");
  }
  void append(std::span<const std::byte> bytes) {
    file_.write(bytes);
    bytes_ += static_cast<int64_t>(bytes.size());
  }
  /// Renames the part to its target. The target and its description never mismatch: in between
  /// there is no description, and the file would be downloaded again.
  void finish(const fs::path& target) {
    file_.flush();
    std::error_code error;
    fs::remove(description_of(target), error);
    if (error) fail_on_file("remove", description_of(target), error.value());
    rename_file(path_, target);
    rename_file(description_, description_of(target));
  }

 private:
  fs::path path_, description_;
  FileDescriptor file_;
  int64_t bytes_ = 0;
  Identity identity_;
};

/// One HTTP request for the missing bytes of a file.
class Request {
 public:
  Request(const Download& what, PartialFile& part, Console& console,
          const std::function<void()>& check_stop)
      : what_(what),
        part_(part),
        console_(console),
        check_stop_(check_stop),
        curl_(::curl_easy_init(), ::curl_easy_cleanup) {
    if (!curl_) fail("libcurl cannot be used: curl_easy_init failed");
    set(CURLOPT_URL, what.url.full().c_str());
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    set(CURLOPT_FOLLOWLOCATION, 1L);
    set(CURLOPT_MAXREDIRS, kRedirections);
    set(CURLOPT_FAILONERROR, 1L);
    set(CURLOPT_USERAGENT, "mmrec-prepare");
    set(CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
    set(CURLOPT_LOW_SPEED_LIMIT, 1L);
    set(CURLOPT_LOW_SPEED_TIME, kStallSeconds);
    set(CURLOPT_HEADERFUNCTION, &Request::on_header);
    set(CURLOPT_HEADERDATA, this);
    set(CURLOPT_WRITEFUNCTION, &Request::on_body);
    set(CURLOPT_WRITEDATA, this);
    set(CURLOPT_NOPROGRESS, 0L);
    set(CURLOPT_XFERINFOFUNCTION, &Request::on_progress);
    set(CURLOPT_XFERINFODATA, this);
    if (part.can_go_on()) {
      set(CURLOPT_RANGE, fmt::format("{}-", part.bytes()).c_str());
      lines_.reset(
          ::curl_slist_append(nullptr, ("If-Range: " + part.identity().validator).c_str()));
      set(CURLOPT_HTTPHEADER, lines_.get());
    }
  }

  /// Returns whether the file is complete now. If not, a retry may help; if a retry cannot help,
  /// throws an Error.
  bool perform() {
    const CURLcode code = ::curl_easy_perform(curl_.get());
    if (thrown_) std::rethrow_exception(thrown_);
    ::curl_easy_getinfo(curl_.get(), CURLINFO_RESPONSE_CODE, &status_);
    // a body shorter than kBeginning
    if (!started_ && (code == CURLE_OK || !beginning_.empty())) begin_body();
    const int64_t expected = part_.identity().bytes;
    if (code == CURLE_OK && (expected < 0 || part_.bytes() == expected)) return true;
    switch (code) {
      case CURLE_OK:
        problem_ = fmt::format("{} of {} bytes came", part_.bytes(), expected);
        part_.begin({});
        return false;
      case CURLE_HTTP_RETURNED_ERROR:
        return answer_error();
      case CURLE_URL_MALFORMAT:
      case CURLE_UNSUPPORTED_PROTOCOL:
        fail_usage("--url {}: it leads to what is not an http or https URL", shown());
      case CURLE_COULDNT_RESOLVE_HOST:
        fail("{}: the server is not found; check the network and the URL", shown());
      case CURLE_COULDNT_RESOLVE_PROXY:
        fail("{}: the proxy is not found; check the environment's http_proxy and https_proxy",
             shown());
      case CURLE_PEER_FAILED_VERIFICATION:
      case CURLE_SSL_CACERT_BADFILE:
        fail(
            "{}: the server's certificate is not trusted; check the clock and Debian's package "
            "ca-certificates",
            shown());
      case CURLE_TOO_MANY_REDIRECTS:
        fail("{}: redirected more than {} times; check the URL", shown(), kRedirections);
      case CURLE_COULDNT_CONNECT:
        return try_again("no connection to the server");
      case CURLE_SSL_CONNECT_ERROR:
        return try_again("no secure connection to the server");
      case CURLE_OPERATION_TIMEDOUT:
        return try_again("the server sends nothing");
      case CURLE_GOT_NOTHING:
      case CURLE_HTTP2:
      case CURLE_HTTP2_STREAM:
      case CURLE_PARTIAL_FILE:
      case CURLE_RECV_ERROR:
      case CURLE_SEND_ERROR:
        return try_again("the connection was lost");
      default:
        fail(
            "{}: libcurl cannot download it (its error {}); get the file in another way and give "
            "it with --input-file",
            shown(), static_cast<int>(code));
    }
  }

  /// Why the file is not complete.
  const std::string& problem() const { return problem_; }
  /// The delay that the server asks for.
  milliseconds wait_asked() const {
    curl_off_t seconds = 0;
    ::curl_easy_getinfo(curl_.get(), CURLINFO_RETRY_AFTER, &seconds);
    return std::chrono::seconds(std::clamp<curl_off_t>(seconds, 0, kStallSeconds));
  }

 private:
  template <class T>
  void set(CURLoption option, T value) {
    if (const CURLcode code = ::curl_easy_setopt(curl_.get(), option, value); code != CURLE_OK)
      fail("libcurl cannot be used: its option {} gives error {}", static_cast<int>(option),
           static_cast<int>(code));
  }

  const std::string& shown() const { return what_.url.shown(); }

  bool try_again(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }

  bool answer_error() {
    problem_ = fmt::format("the server answers {}", status_);
    switch (status_) {
      case 404:
      case 410:
        fail("{}: the server has no such file (it answers {}); check the URL", shown(), status_);
      case 401:
      case 403:
        fail(
            "{}: the server denies access (it answers {}); get the file in another way and give it "
            "with --input-file",
            shown(), status_);
      case 416:  // the part is longer than the server's file: that file has changed
        part_.begin({});
        return false;
      case 408:
      case 429:
        return false;
      default:
        if (status_ >= 500) return false;
        fail("{}: the server answers {}; check the URL", shown(), status_);
    }
  }

  /// The body is the rest of the part, or a whole file. A whole file replaces the part only after
  /// its first kBeginning bytes have been inspected, however small the pieces are.
  void take_body(std::string_view bytes) {
    if (started_) return part_.append(std::as_bytes(std::span(bytes)));
    beginning_ += bytes;
    if (beginning_.size() >= kBeginning) begin_body();
  }

  void begin_body() {
    started_ = true;
    ::curl_easy_getinfo(curl_.get(), CURLINFO_RESPONSE_CODE, &status_);
    if (status_ >= 300)
      fail(
          "{}: the server answers {}, which is no file, and does not say where there is one; check "
          "the URL",
          shown(), status_);
    if (status_ != 200 && !(status_ == 206 && part_.can_go_on()))
      fail("{}: the server answers {}, which is not the file; check the URL", shown(), status_);
    if (headers_.content_type.starts_with(kHtml) && is_unexpected_html(beginning_, what_.file))
      fail(
          "{}: the server sends an HTML page in place of the file; check the URL, or give the page "
          "itself with --input-file",
          shown());
    curl_off_t length = -1;
    ::curl_easy_getinfo(curl_.get(), CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (status_ == 206) {
      const auto range = parse_content_range(headers_.content_range);
      if (!range || range->first != part_.bytes() ||
          (range->second >= 0 && range->second != part_.identity().bytes))
        fail(
            "{}: asked for the bytes from {} of {}, the server sends '{}'; delete {}.part and try "
            "again",
            shown(), part_.bytes(), part_.identity().bytes, headers_.content_range,
            what_.file.string());
    } else {
      part_.begin({shown(), headers_.validator(), length, headers_.content_type});
    }
    part_.append(std::as_bytes(std::span(beginning_)));
    progress_.emplace(console_, "downloading", std::max<int64_t>(part_.identity().bytes, 0),
                      part_.bytes());
  }

  /// libcurl is C: exceptions are stored and rethrown after it has returned.
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
    const bool good = request.guarded([&] { request.take_body({data, size * count}); });
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
  std::unique_ptr<curl_slist, decltype(&::curl_slist_free_all)> lines_{nullptr,
                                                                       ::curl_slist_free_all};
  std::string problem_, beginning_;
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

/// Returns whether a file has the requested SHA-256.
bool has_sha256(const Download& what, const fs::path& file, Console& console,
                const std::function<void()>& check_stop) {
  ByteProgress progress(console, "checking", FileDescriptor("read", file, O_RDONLY).size());
  const std::string sha256 = sha256_of_file(file, [&](int64_t bytes) {
    check_stop();
    progress.update(bytes);
  });
  return sha256 == lower_case(what.sha256);
}

/// Returns whether the right file exists already.
bool is_there(const Download& what, Console& console, const std::function<void()>& check_stop) {
  if (kind_of_file(what.file) == fs::file_type::not_found) return false;
  const Identity known = read_identity(description_of(what.file));
  const std::string& url = known.url;
  if (known.bytes >= 0 && FileDescriptor("read", what.file, O_RDONLY).size() != known.bytes) {
    console.line(fmt::format("{} is not as it was downloaded: another one takes its place",
                             what.file.string()),
                 Style::kWarning);
    return false;
  }
  const bool is_right = what.sha256.empty() ? url == what.url.shown()
                                            : has_sha256(what, what.file, console, check_stop);
  if (!is_right && url == what.url.shown())
    fail("{}: its SHA-256 is not {} as it should be; delete it to download it again",
         what.file.string(), what.sha256);
  console.line(is_right
                   ? fmt::format("{} is there already: not downloaded again", what.file.string())
                   : fmt::format("{} is there, but from {}: another one takes its place",
                                 what.file.string(), url.empty() ? "an unknown URL" : url));
  return is_right;
}

std::vector<Note> notes_of(const Download& what) {
  if (is_called_html(what.file) ||
      !read_identity(description_of(what.file)).type.starts_with(kHtml))
    return {};
  return {{fmt::format("{}: the server calls it an HTML page (text/html); is it the right file?",
                       what.url.shown()),
           Style::kWarning}};
}

}  // namespace

std::vector<Note> download(const Download& what, Console& console,
                           const std::function<void()>& check_stop) {
  static const CURLcode initialised = ::curl_global_init(CURL_GLOBAL_DEFAULT);
  if (initialised != CURLE_OK)
    fail("libcurl cannot be used: its error {}", static_cast<int>(initialised));
  if (is_there(what, console, check_stop)) return notes_of(what);

  PartialFile part(what);
  if (part.bytes() > 0)
    console.line(fmt::format("going on with {}, of which {} are there", part_of(what.file).string(),
                             format_bytes(part.bytes())));
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
      fail("{}: {}, {} times in a row; try again later, the download then goes on where it is",
           what.url.shown(), request.problem(), failures);
    const milliseconds pause = std::max(delay, request.wait_asked());
    console.line(fmt::format("{}: trying again in {:.1f} s ({} of {})", request.problem(),
                             static_cast<double>(pause.count()) / 1000, failures, what.retries),
                 Style::kWarning);
    wait(pause, check_stop);
    delay *= 2;
  }
  if (!what.sha256.empty() && !has_sha256(what, part_of(what.file), console, check_stop))
    fail("{}: its SHA-256 is not {} as it should be; delete it to download it again",
         part_of(what.file).string(), what.sha256);
  part.finish(what.file);
  return notes_of(what);
}

namespace {

/// Removes everything that may be a user name or password, also from texts that are no URL.
std::string without_credentials(std::string text) {
  const size_t end = text.rfind('@');
  if (end == text.npos) return text;
  const size_t scheme = text.find("://"), begin = scheme < end ? scheme + 3 : 0;
  return text.erase(begin, end + 1 - begin);
}

}  // namespace

Url::Url(const std::string& text) : full_(text) {
  const std::unique_ptr<CURLU, decltype(&::curl_url_cleanup)> parsed(::curl_url(),
                                                                     ::curl_url_cleanup);
  const auto part = [&](CURLUPart which, unsigned flags = 0) {
    char* value = nullptr;
    const bool good = ::curl_url_get(parsed.get(), which, &value, flags) == CURLUE_OK;
    const std::string copy = good ? value : "";
    ::curl_free(value);
    return copy;
  };
  bool good = parsed && ::curl_url_set(parsed.get(), CURLUPART_URL, text.c_str(), 0) == CURLUE_OK;
  if (const std::string scheme = good ? part(CURLUPART_SCHEME) : "";
      scheme != "http" && scheme != "https")
    good = false;
  if (!good) fail_usage("--url {}: not an http or https URL", without_credentials(text));
  shown_ = text;
  if (!part(CURLUPART_USER).empty() || !part(CURLUPART_PASSWORD).empty()) {
    for (const CURLUPart which : {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_OPTIONS})
      ::curl_url_set(parsed.get(), which, nullptr, 0);
    shown_ = part(CURLUPART_URL);
  }
  file_name_ = fs::path(part(CURLUPART_PATH, CURLU_URLDECODE)).filename().string();
  if (file_name_.empty() || file_name_ == "." || file_name_ == "..") file_name_ = "download";
}

}  // namespace mmrec
