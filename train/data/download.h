#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "support/console.h"

namespace mmrec {

/// An http or https URL. Its user name and password are for the server alone.
class Url {
 public:
  /// Throws a UsageError for what is no such URL.
  Url(const std::string& text);
  /// Without user name and password: for messages and files.
  const std::string& shown() const { return shown_; }
  /// For the server.
  const std::string& full() const { return full_; }
  /// The last part of its path, as the name of a file.
  const std::string& file_name() const { return file_name_; }

 private:
  std::string full_, shown_, file_name_;
};

/// A file to be had over HTTP.
struct Download {
  Url url;
  std::filesystem::path file;                  ///< where it goes; an incomplete one is FILE.part
  std::string sha256 = {};                     ///< what it must be, in hexadecimal; "": anything
  int retries = 5;                             ///< in a row without another byte
  std::chrono::milliseconds first_wait{1000};  ///< before the first of them; each later one waits twice as long
};

/// Returns when the file is there, complete and checked. .FILE.url.json says what it is, FILE.part.json what FILE.part is: the URL, the
/// server's ETag or Last-Modified, the size and the type. A file that is there from this URL, or that has the SHA-256, is not downloaded again;
/// another one stays until the new one is complete. A broken download goes on where it was, now or at the next call, if the server can tell that its
/// file is still the same, and starts over if not. What may pass (a lost connection, an overloaded server) is tried again; then, and for
/// all else, an Error says what is wrong. check_stop is called often and may throw; what has been received stays. Returns what seems odd about
/// the file.
std::vector<Note> download(const Download& what, Console& console, const std::function<void()>& check_stop);

}  // namespace mmrec
