#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>

#include "train/console.h"

namespace mmrec {

/// A file to be had over HTTP.
struct Download {
  std::string url;                             ///< http or https
  std::filesystem::path file;                  ///< where it goes; an incomplete one is FILE.part, and FILE.part.json says of what
  std::string sha256 = {};                     ///< what it must be, in hexadecimal; "": anything
  int retries = 5;                             ///< in a row without another byte
  std::chrono::milliseconds first_wait{1000};  ///< before the first of them; each later one waits twice as long
};

/// Returns when the file is there, complete and checked. One that is there already is not downloaded again. A broken download
/// goes on where it was, now or at the next call, if the server can tell that its file is still the same (by ETag or
/// Last-Modified), and starts over if not. What may pass (a lost connection, an overloaded server) is tried again; then, and for
/// all else, an Error says what is wrong. check_stop is called often and may throw; what has been received stays.
void download(const Download& what, Console& console, const std::function<void()>& check_stop);

/// The last part of a URL's path, as the name of a file. Throws a UsageError for what is no http or https URL.
std::string file_name_of(const std::string& url);

}  // namespace mmrec
