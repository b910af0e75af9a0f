#include "train/data/download.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "support/atomic_file.h"
#include "support/file_descriptor.h"
#include "tests/common/expect_error.h"
#include "tests/common/http_server.h"
#include "tests/common/temporary_directory.h"
#include "train/data/sha256.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using test::expect_error;
using test::header_of;
using test::HttpServer;
using test::serve_file;
using test::TemporaryDirectory;

class Downloads : public testing::Test {
 protected:
  Downloads() {
    while (content_.size() < 3'000'000) content_ += fmt::format("line {}\n", content_.size());
  }

  std::vector<Note> get(const HttpServer& server, const std::string& sha256 = "") {
    Console console(/*quiet=*/false, output_.get());
    return download({.url = {server.url("/text.txt")},
                     .file = file_,
                     .sha256 = sha256,
                     .retries = 2,
                     .first_wait = milliseconds(1)},
                    console, [this] { check_stop_(); });
  }
  /// Returns the first bytes of a correct answer; then the connection is lost.
  static std::string cut(const std::string& answer, size_t bytes) {
    return answer.substr(0, bytes);
  }

  void expect_complete() const {
    EXPECT_TRUE(read_file(file_) == content_);
    EXPECT_TRUE(fs::exists(file_description_));
    EXPECT_FALSE(fs::exists(part_));
    EXPECT_FALSE(fs::exists(description_));
  }
  std::string output() const {
    std::fflush(output_.get());
    return read_file(directory_ / "output");
  }

  TemporaryDirectory directory_;
  std::string content_;
  fs::path file_ = directory_ / "text.txt", part_ = directory_ / "text.txt.part",
           description_ = directory_ / "text.txt.part.json";
  fs::path file_description_ = directory_ / ".text.txt.url.json";
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> output_{
      std::fopen((directory_ / "output").c_str(), "w"), std::fclose};
  std::function<void()> check_stop_ = [] {};
};

TEST_F(Downloads, AWholeFileInOneRequest) {
  const HttpServer server(
      [&](const std::string& request) { return serve_file(request, content_); });
  get(server);
  expect_complete();
  ASSERT_EQ(server.requests().size(), 1u);
  EXPECT_TRUE(server.requests()[0].starts_with("GET /text.txt HTTP/1.1\r\n"));
  EXPECT_EQ(header_of(server.requests()[0], "Range"), "");
  get(server);
  EXPECT_EQ(server.requests().size(), 1u) << "a file that is there is downloaded again";
}

TEST_F(Downloads, LostConnectionIsResumed) {
  int answers = 0;
  const HttpServer server([&](const std::string& request) {
    const std::string answer = serve_file(request, content_);
    // more failures than retries, but each brings bytes
    return ++answers <= 3 ? cut(answer, 900'000) : answer;
  });
  get(server);
  expect_complete();
  const std::vector<std::string> requests = server.requests();
  ASSERT_EQ(requests.size(), 4u);
  int64_t last = 0;
  for (size_t i = 1; i < requests.size(); ++i) {
    EXPECT_EQ(header_of(requests[i], "If-Range"), "\"v1\"");
    const std::string range = header_of(requests[i], "Range");
    ASSERT_TRUE(range.starts_with("bytes=") && range.ends_with("-")) << range;
    const int64_t from = std::stoll(range.substr(6));
    EXPECT_GT(from, last);
    EXPECT_GE(from, static_cast<int64_t>(i) * 899'000);
    last = from;
  }
  EXPECT_NE(output().find("trying again in 0.0 s (1 of 2)"), std::string::npos) << output();
}

TEST_F(Downloads, NextCallResumesToo) {
  bool cut_off = true;
  const HttpServer server([&](const std::string& request) {
    if (cut_off && !header_of(request, "Range").empty()) return std::string();
    const std::string answer = serve_file(request, content_);
    return cut_off ? cut(answer, 1'000'000) : answer;
  });
  expect_error([&] { get(server); },
               {server.url("/text.txt"), "3 times in a row", "goes on where it is"});
  EXPECT_FALSE(fs::exists(file_));
  const uintmax_t there = fs::file_size(part_);
  EXPECT_GT(there, 900'000u);
  cut_off = false;
  get(server);
  expect_complete();
  EXPECT_EQ(header_of(server.requests().back(), "Range"), fmt::format("bytes={}-", there));
  EXPECT_NE(output().find("going on with"), std::string::npos);
}

TEST_F(Downloads, StartsOverIfTheFileHasChanged) {
  int answers = 0;
  const HttpServer server([&](const std::string& request) {
    return ++answers == 1
               ? cut(serve_file(request, std::string(2'000'000, 'x'), "\"v0\""), 1'000'000)
               : serve_file(request, content_, "\"v1\"");
  });
  get(server);
  expect_complete();
  EXPECT_EQ(header_of(server.requests()[1], "If-Range"), "\"v0\"");
}

TEST_F(Downloads, StartsOverWithoutAStrongValidator) {
  int answers = 0;
  // no validator, or a weak one, which does not guarantee the same bytes
  const HttpServer server([&](const std::string&) {
    const std::string answer =
        fmt::format("HTTP/1.1 200 OK\r\n{}Content-Length: {}\r\n\r\n{}",
                    answers % 2 ? "ETag: W/\"v1\"\r\n" : "", content_.size(), content_);
    return ++answers <= 2 ? cut(answer, 1'000'000) : answer;
  });
  get(server);
  expect_complete();
  for (const std::string& request : server.requests()) EXPECT_EQ(header_of(request, "Range"), "");
}

TEST_F(Downloads, ResumesByLastModified) {
  const std::string date = "Tue, 01 Apr 2025 10:00:00 GMT";
  int answers = 0;
  const HttpServer server([&](const std::string& request) {
    std::string answer = serve_file(request, content_, date);
    answer.replace(answer.find("ETag: "), 6, "last-modified:");
    return ++answers == 1 ? cut(answer, 1'000'000) : answer;
  });
  get(server);
  expect_complete();
  EXPECT_EQ(header_of(server.requests()[1], "If-Range"), date);
  EXPECT_NE(header_of(server.requests()[1], "Range"), "");
}

TEST_F(Downloads, APartOfAnotherUrlIsNotUsed) {
  write_file_atomically(part_, "xxxx");
  write_file_atomically(description_,
                        R"({"url":"http://127.0.0.1/other","validator":"\"v1\"","bytes":3000000})");
  const HttpServer server(
      [&](const std::string& request) { return serve_file(request, content_); });
  get(server);
  expect_complete();
  for (const char* damaged : {"", "{", "[]", "{\"url\":1}"}) {
    fs::remove(file_);
    write_file_atomically(part_, "xxxx");
    write_file_atomically(description_, damaged);
    get(server);
    expect_complete();
  }
}

TEST_F(Downloads, APartThatIsLongerThanTheFileIsNotUsed) {
  const HttpServer server(
      [&](const std::string& request) { return serve_file(request, content_); });
  write_file_atomically(part_, content_ + "more");
  write_file_atomically(
      description_,
      fmt::format(R"({{"url":"{}","validator":"\"v1\"","bytes":99}})", server.url("/text.txt")));
  get(server);
  expect_complete();
}

TEST_F(Downloads, ACompletePartNeedsNoRequest) {
  const HttpServer server(
      [&](const std::string& request) { return serve_file(request, content_); });
  write_file_atomically(part_, content_);
  write_file_atomically(description_,
                        fmt::format(R"({{"url":"{}","validator":"\"v1\"","bytes":{}}})",
                                    server.url("/text.txt"), content_.size()));
  get(server);
  expect_complete();
  EXPECT_TRUE(server.requests().empty());
}

TEST_F(Downloads, ARangeThatWasNotAskedForIsRefused) {
  int answers = 0;
  const HttpServer server([&](const std::string& request) {
    const std::string answer = serve_file(request, content_);
    if (++answers == 1) return cut(answer, 1'000'000);
    return std::string(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-8/3000000\r\nContent-Length: "
        "4\r\n\r\nabcd");
  });
  expect_error([&] { get(server); }, {"asked for the bytes from", "bytes 5-8/3000000"});
}

/// Two URLs may end in the same name.
TEST_F(Downloads, FileOfAnotherUrlIsReplaced) {
  const HttpServer server([&](const std::string& request) {
    return request.starts_with("GET /other/") ? serve_file(request, "another text\n", "\"v7\"")
                                              : serve_file(request, content_);
  });
  Console console(/*quiet=*/false, output_.get());
  const auto get_other = [&] {
    download({.url = {server.url("/other/text.txt")}, .file = file_}, console, [] {});
  };
  get(server);
  get_other();
  EXPECT_EQ(read_file(file_), "another text\n");
  const nlohmann::json described = nlohmann::json::parse(read_file(file_description_));
  EXPECT_EQ(described["url"], server.url("/other/text.txt"));
  EXPECT_EQ(described["validator"], "\"v7\"");
  EXPECT_NE(output().find("is there, but from " + server.url("/text.txt")), std::string::npos)
      << output();
  get_other();
  EXPECT_EQ(server.requests().size(), 2u) << "it is there now";
  get(server);
  expect_complete();
  for (const char* damaged : {"", "{", "[]", "{\"url\":1}"}) {  // then its origin is unknown
    write_file_atomically(file_, "xxxx");
    write_file_atomically(file_description_, damaged);
    get(server);
    expect_complete();
  }
  fs::remove(file_description_);
  get(server);
  expect_complete();
}

TEST_F(Downloads, AnOldFileStaysUntilTheNewOneIsComplete) {
  write_file_atomically(file_, "from another URL");
  std::string answer;
  const HttpServer server([&](const std::string&) { return answer; });
  for (const char* bad : {"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
                          "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"}) {
    answer = bad;
    EXPECT_THROW(get(server), Error);
    EXPECT_EQ(read_file(file_), "from another URL");
  }
  answer = "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: 4\r\n\r\nabcd";
  expect_error([&] { get(server, std::string(64, '0')); }, {part_.string(), "SHA-256"});
  EXPECT_EQ(read_file(file_), "from another URL");
}

/// Half of a file beside the description of the whole: the result of a copy to a full disk.
TEST_F(Downloads, AFileThatWasCutIsDownloadedAgain) {
  const HttpServer server(
      [&](const std::string& request) { return serve_file(request, content_); });
  get(server);
  fs::resize_file(file_, 20);
  get(server);
  expect_complete();
}

TEST_F(Downloads, FileWithTheSha256IsAcceptedFromAnySource) {
  const HttpServer server(
      [&](const std::string& request) { return serve_file(request, content_); });
  write_file_atomically(file_, content_);
  get(server, sha256_of_file(file_));
  EXPECT_TRUE(server.requests().empty());
}

TEST_F(Downloads, RefusesAnswersThatAreNotTheFile) {
  const auto expect_refused = [&](const std::string& answer,
                                  std::initializer_list<std::string_view> parts) {
    SCOPED_TRACE(answer);
    const HttpServer server([&](const std::string&) { return "HTTP/1.1 " + answer; });
    expect_error([&] { get(server); }, {server.url("/text.txt")});
    expect_error([&] { get(server); }, parts);
    EXPECT_FALSE(fs::exists(file_));
  };
  for (const char* body : {"", "body"}) {
    const std::string end =
        fmt::format("\r\nContent-Length: {}\r\n\r\n{}", std::strlen(body), body);
    expect_refused("202 Accepted" + end, {"answers 202", "not the file"});
    expect_refused("203 Other" + end, {"answers 203"});
    expect_refused("206 Partial Content\r\nContent-Range: bytes 0-3/4" + end, {"answers 206"});
    for (const char* status : {"300 Many", "302 Found", "304 Not Modified"})
      expect_refused(status + end, {std::string_view(status).substr(0, 3), "does not say where"});
  }
  expect_refused("204 No Content\r\n\r\n", {"answers 204", "not the file"});
}

TEST_F(Downloads, APageInPlaceOfTheFileIsRefused) {
  std::string type = "text/html; charset=utf-8", body = "<!DOCTYPE html>\n<title>Log in</title>";
  const HttpServer server([&](const std::string&) {
    return fmt::format("HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n{}", type,
                       body.size(), body);
  });
  expect_error([&] { get(server); }, {server.url("/text.txt"), "an HTML page", "check the URL"});
  EXPECT_FALSE(fs::exists(file_));
  body = "<div>login</div>";
  for (const char* call : {"the first", "the second"}) {
    SCOPED_TRACE(call);
    const std::vector<Note> notes = get(server);
    EXPECT_EQ(read_file(file_), body) << "a server may call everything a page";
    ASSERT_EQ(notes.size(), 1u);
    EXPECT_EQ(notes[0].text,
              server.url("/text.txt") +
                  ": the server calls it an HTML page (text/html); is it the right file?");
    EXPECT_EQ(notes[0].style, Style::kWarning);
  }
  body = "<html>";
  file_ = directory_ / "page.html";
  EXPECT_TRUE(get(server).empty());
  EXPECT_EQ(read_file(file_), body) << "it is called so";
}

TEST_F(Downloads, PageIsDetectedInPiecesOfAnySize) {
  int answers = 0;
  const HttpServer server([&](const std::string& request) -> std::string {
    if (++answers == 1) return cut(serve_file(request, content_), 1'000'000);
    return "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: "
           "chunked\r\n\r\n1\r\n<\r\nd\r\nhtml>\n<title>\r\n0\r\n\r\n";
  });
  expect_error([&] { get(server); },
               {server.url("/text.txt"), "an HTML page in place of the file"});
  EXPECT_FALSE(fs::exists(file_));
  EXPECT_GT(fs::file_size(part_), 900'000u) << "a page takes the place of nothing";
}

TEST_F(Downloads, PasswordsGoOnlyToTheServer) {
  content_ = "a text\n";
  bool good = false;
  const HttpServer server([&](const std::string& request) -> std::string {
    if (header_of(request, "Authorization") != "Basic am9lOnNlQGNyZXQ=")
      return "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n";
    return good ? serve_file(request, content_) : cut(serve_file(request, content_), 75);
  });
  const auto with = [&](const std::string& credentials) {
    return "http://" + credentials + "@" + server.url("/text.txt").substr(7);
  };
  Console console(/*quiet=*/false, output_.get());
  const auto expect_secret = [&](std::string_view text) {
    EXPECT_EQ(text.find("joe"), text.npos) << text;
    EXPECT_EQ(text.find("cret"), text.npos) << text;
  };
  const Url url = with("joe:se%40cret");
  EXPECT_EQ(url.shown(), server.url("/text.txt"));
  for (const std::string& credentials :
       {std::string("joe:se%40cret"), std::string("joe:wrong-secret")}) {
    try {
      download(
          {.url = with(credentials), .file = file_, .retries = 1, .first_wait = milliseconds(1)},
          console, [] {});
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      expect_secret(error.what());
    }
  }
  good = true;
  download({.url = url, .file = file_}, console, [] {});
  expect_complete();
  for (const fs::directory_entry& entry : fs::directory_iterator(directory_.path()))
    expect_secret(read_file(entry.path()));
  expect_secret(output());
  for (const char* bad :
       {"ftp://joe:secret@example.org/x", "joe:secret@example.org/x", "http://joe:secret@",
        "http://joe:sec/ret@example.org/x", "http://joe:secret@example.org:port/x",
        "http://joe:s@ecret@exam ple.org/x@y"}) {
    try {
      const Url parsed(bad);
      ADD_FAILURE() << bad;
    } catch (const UsageError& error) {
      EXPECT_EQ(std::string_view(error.what()).find("joe"), std::string_view::npos) << error.what();
      EXPECT_EQ(std::string_view(error.what()).find("ret"), std::string_view::npos) << error.what();
    }
  }
  EXPECT_EQ(Url("http://example.org/@joe/x@y").shown(), "http://example.org/@joe/x@y");
}

TEST_F(Downloads, TemporaryFailuresAreRetried) {
  int answers = 0;
  const HttpServer server([&](const std::string& request) -> std::string {
    ++answers;
    if (answers == 1) return "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    if (answers == 2) return "";  // closes the connection
    return serve_file(request, content_);
  });
  get(server);
  expect_complete();
  EXPECT_EQ(server.requests().size(), 3u);
  EXPECT_NE(output().find("the server answers 503: trying again"), std::string::npos) << output();
}

TEST_F(Downloads, PermanentFailuresAreNotRetried) {
  const auto expect_refused = [&](int status, std::initializer_list<std::string_view> parts) {
    SCOPED_TRACE(status);
    const HttpServer server([&](const std::string&) {
      return fmt::format("HTTP/1.1 {} No\r\nContent-Length: 4\r\n\r\nbody", status);
    });
    expect_error([&] { get(server); }, parts);
    EXPECT_EQ(server.requests().size(), 1u);
    EXPECT_FALSE(fs::exists(file_));
  };
  expect_refused(404, {"/text.txt", "no such file", "404", "check the URL"});
  expect_refused(410, {"no such file"});
  expect_refused(403, {"denies access", "--input-file"});
  expect_refused(400, {"answers 400"});

  std::string url;
  {
    const HttpServer gone([](const std::string&) { return ""; });
    url = gone.url("/x");
  }
  Console console(true);
  expect_error(
      [&] {
        download({.url = {url}, .file = file_, .retries = 1, .first_wait = milliseconds(1)},
                 console, check_stop_);
      },
      {url, "2 times in a row"});
  expect_error(
      [&] {
        download({.url = {"http://no-such-host.invalid/x"}, .file = file_}, console, check_stop_);
      },
      {"not found", "check the network"});
  expect_error<UsageError>(
      [&] { download({.url = {"file:///etc/passwd"}, .file = file_}, console, check_stop_); },
      {"not an http or https URL"});
}

TEST_F(Downloads, RedirectionsAreFollowed) {
  const HttpServer server([&](const std::string& request) -> std::string {
    if (request.starts_with("GET /text.txt "))
      return "HTTP/1.1 302 Found\r\nETag: \"v0\"\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n";
    return serve_file(request, content_);
  });
  get(server);
  expect_complete();
  const HttpServer circle([](const std::string&) {
    return "HTTP/1.1 302 Found\r\nLocation: /text.txt\r\nContent-Length: 0\r\n\r\n";
  });
  fs::remove(file_);
  expect_error([&] { get(circle); }, {"redirected more than"});
  const HttpServer away([](const std::string&) {
    return "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n";
  });
  expect_error<UsageError>([&] { get(away); }, {"not an http or https URL"});
}

TEST_F(Downloads, EmptyFileIsDownloaded) {
  content_.clear();
  const HttpServer server(
      [&](const std::string& request) { return serve_file(request, content_); });
  get(server);
  expect_complete();
}

TEST_F(Downloads, TheChecksumIsCompared) {
  const HttpServer server(
      [&](const std::string& request) { return serve_file(request, content_); });
  std::ofstream(directory_ / "copy") << content_;
  std::string sha256 = sha256_of_file(directory_ / "copy");
  get(server, sha256);
  get(server, sha256);
  expect_complete();
  sha256[0] = sha256[0] == '0' ? '1' : '0';
  expect_error([&] { get(server, sha256); }, {file_.string(), "SHA-256", sha256, "delete it"});
  fs::remove(file_);
  expect_error([&] { get(server, sha256); }, {"SHA-256", sha256});
}

TEST_F(Downloads, StoppingKeepsTheReceivedBytes) {
  const HttpServer server(
      [&](const std::string& request) { return serve_file(request, content_); });
  check_stop_ = [&] {
    std::error_code ignored;
    if (const uintmax_t there = fs::file_size(part_, ignored); !ignored && there > 100'000)
      fail("stopped by the test");
  };
  expect_error([&] { get(server); }, {"stopped by the test"});
  EXPECT_FALSE(fs::exists(file_));
  EXPECT_GT(fs::file_size(part_), 100'000u);
  check_stop_ = [] {};
  get(server);
  expect_complete();
  EXPECT_NE(header_of(server.requests().back(), "Range"), "");
}

TEST_F(Downloads, FullDiskIsReportedAndTheDownloadResumes) {
  const HttpServer server(
      [&](const std::string& request) { return serve_file(request, content_); });
  const auto before = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  rlimit limit = old;
  limit.rlim_cur = 1'000'000;
  ::setrlimit(RLIMIT_FSIZE, &limit);
  expect_error([&] { get(server); }, {"cannot write", file_.string(), "File too large"});
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, before);
  EXPECT_EQ(fs::file_size(part_), 1'000'000u);
  get(server);
  expect_complete();
  EXPECT_EQ(header_of(server.requests().back(), "Range"), "bytes=1000000-");
}

TEST_F(Downloads, TwoProcessesDoNotWriteTheSameFile) {
  const HttpServer server(
      [&](const std::string& request) { return serve_file(request, content_); });
  const FileDescriptor other("write", part_, O_WRONLY | O_CREAT);
  ASSERT_EQ(::flock(other, LOCK_EX), 0);
  expect_error([&] { get(server); }, {"another process"});
  EXPECT_TRUE(server.requests().empty());
}

TEST(DownloadedFiles, AreCalledAsTheUrlSays) {
  EXPECT_EQ(Url("https://example.org/a/b/text.jsonl.gz?download=true#top").file_name(),
            "text.jsonl.gz");
  EXPECT_EQ(Url("http://example.org/a%20b.txt").file_name(), "a b.txt");
  EXPECT_EQ(Url("http://example.org/a/..%2f..%2fetc%2fpasswd").file_name(), "passwd");
  for (const char* url : {"http://example.org", "http://example.org/", "http://example.org/a/"})
    EXPECT_EQ(Url(url).file_name(), "download") << url;
  for (const char* url : {"", "text.txt", "ftp://example.org/x", "file:///x", "http://"})
    expect_error<UsageError>([&] { Url(url).file_name(); }, {"--url", "not an http or https URL"});
}

}  // namespace
}  // namespace mmrec
