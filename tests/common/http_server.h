#pragma once

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace mmrec::test {

/// A local HTTP server whose answers, faults included, the test defines. It receives the head of a
/// request, sends the bytes of the whole answer and closes the connection. One request per
/// connection, one connection at a time.
class HttpServer {
 public:
  using Answer = std::function<std::string(const std::string& request)>;

  explicit HttpServer(Answer answer)
      : answer_(std::move(answer)), socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    if (socket_ < 0 || ::bind(socket_, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
        ::listen(socket_, 8) != 0 ||
        ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &length) != 0)
      throw std::runtime_error("cannot serve on 127.0.0.1");
    port_ = ntohs(address.sin_port);
    ::setenv("no_proxy", "127.0.0.1", 1);  // libcurl must not use a proxy from the environment
    thread_ = std::thread([this] { serve(); });
  }
  ~HttpServer() {
    ::shutdown(socket_, SHUT_RDWR);
    thread_.join();
    ::close(socket_);
  }
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::string url(const std::string& path) const {
    return fmt::format("http://127.0.0.1:{}{}", port_, path);
  }
  std::vector<std::string> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void serve() {
    for (int connection; (connection = ::accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) {
      std::string request;
      char block[4096];
      while (request.find("\r\n\r\n") == request.npos) {
        const ssize_t got = ::recv(connection, block, sizeof block, 0);
        if (got <= 0) break;
        request.append(block, static_cast<size_t>(got));
      }
      {
        const std::lock_guard lock(mutex_);
        requests_.push_back(request);
      }
      const std::string answer = answer_(request);
      for (std::string_view rest = answer; !rest.empty();) {
        const ssize_t sent = ::send(connection, rest.data(), rest.size(), MSG_NOSIGNAL);
        if (sent <= 0) break;
        rest.remove_prefix(static_cast<size_t>(sent));
      }
      ::shutdown(connection, SHUT_WR);
      // until the client has received all and hangs up
      while (::recv(connection, block, sizeof block, 0) > 0) {
      }
      ::close(connection);
    }
  }

  Answer answer_;
  int socket_;
  int port_ = 0;
  mutable std::mutex mutex_;
  std::vector<std::string> requests_;
  std::thread thread_;
};

/// Returns the value of a request's header, or "".
inline std::string header_of(const std::string& request, const std::string& name) {
  const size_t begin = request.find("\r\n" + name + ": ");
  if (begin == request.npos) return "";
  const size_t value = begin + name.size() + 4;
  return request.substr(value, request.find("\r\n", value) - value);
}

/// Returns the answer of a correct server: `content` with this ETag, whole or the requested range.
inline std::string serve_file(const std::string& request, const std::string& content,
                              const std::string& etag = "\"v1\"") {
  const std::string range = header_of(request, "Range"), if_range = header_of(request, "If-Range");
  if (!range.empty() && if_range == etag) {
    const size_t first = std::stoul(range.substr(std::string_view("bytes=").size()));
    if (first >= content.size())
      return fmt::format(
          "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{}\r\nContent-Length: "
          "0\r\n\r\n",
          content.size());
    return fmt::format(
        "HTTP/1.1 206 Partial Content\r\nETag: {}\r\nContent-Range: bytes "
        "{}-{}/{}\r\nContent-Length: {}\r\n\r\n{}",
        etag, first, content.size() - 1, content.size(), content.size() - first,
        content.substr(first));
  }
  return fmt::format(
      "HTTP/1.1 200 OK\r\nETag: {}\r\nAccept-Ranges: bytes\r\nContent-Length: {}\r\n\r\n{}", etag,
      content.size(), content);
}

}  // namespace mmrec::test
