#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "support/console.h"

namespace mmrec {

/// An http or https URL. User name and password are sent to the server only, never shown.
class Url {
 public:
  /// Throws a UsageError for any other text.
  Url(const std::string& text);
  /// Without user name and password; for messages and files.
  const std::string& shown() const { return shown_; }
  /// Complete; for the server.
  const std::string& full() const { return full_; }
  /// The last part of the path, to use as a file name.
  const std::string& file_name() const { return file_name_; }

 private:
  std::string full_, shown_, file_name_;
};

/// A file to download over HTTP.
struct Download {
  Url url;
  std::filesystem::path file;                  ///< destination; an incomplete download is FILE.part
  std::string sha256 = {};                     ///< expected SHA-256 in hexadecimal; "": any
  int retries = 5;                             ///< consecutive failures without a new byte
  std::chrono::milliseconds first_wait{1000};  ///< before the first retry; doubles with each retry
};

/// Downloads a file. When this returns, the file is complete and verified.
/// - .FILE.url.json describes the file, FILE.part.json the partial file: URL, ETag or
/// Last-Modified, size and type.
/// - An existing file from this URL, or with the right SHA-256, is not downloaded again. Any other
/// existing file stays until the new one is complete.
/// - An interrupted download resumes, now or in the next call, if the server can confirm that its
/// file is unchanged; otherwise it starts over.
/// - Temporary failures (lost connection, overloaded server) are retried. After that, and for all
/// other failures, throws an Error that says what is wrong.
/// - check_stop is called often and may throw; received bytes are kept.
/// Returns warnings about the file.
std::vector<Note> download(const Download& what, Console& console,
                           const std::function<void()>& check_stop);

}  // namespace mmrec
