#include "train/ranks/shared_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <thread>
#include <utility>

namespace mmrec {

TemporaryFile::TemporaryFile(PathAt path)
    : path_(std::move(path)), file_("write", path_, O_WRONLY | O_CREAT | O_EXCL) {}

TemporaryFile::~TemporaryFile() { ::unlinkat(path_.directory(), path_.c_str(), 0); }

bool appears(const std::filesystem::path& file) {
  constexpr int kLooks = 50;
  constexpr auto kPause = std::chrono::milliseconds(100);
  for (int look = 0; look < kLooks; ++look, std::this_thread::sleep_for(kPause))
    if (exists(PathAt(file))) return true;
  return false;
}

}  // namespace mmrec
