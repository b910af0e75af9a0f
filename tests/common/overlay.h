#pragma once

#include <fmt/format.h>
#include <sys/mount.h>

#include <filesystem>

namespace mmrec::test {

/// A folder as in a container: the lower layer of an overlay, with changes stored elsewhere. The
/// system refuses to rename a directory of the lower layer (EXDEV). Needs the right to mount.
class Overlay {
 public:
  /// Mounts the overlay over `lower`; `room` must not exist.
  Overlay(const std::filesystem::path& lower, const std::filesystem::path& room)
      : lower_(lower), room_(room) {
    std::filesystem::create_directory(room);
    if (::mount("tmpfs", room.c_str(), "tmpfs", 0, nullptr) != 0) return;
    for (const char* name : {"upper", "work"}) std::filesystem::create_directory(room / name);
    const std::string options =
        fmt::format("lowerdir={},upperdir={},workdir={},redirect_dir=off", lower.string(),
                    (room / "upper").string(), (room / "work").string());
    mounted_ = ::mount("overlay", lower.c_str(), "overlay", 0, options.c_str()) == 0;
  }
  ~Overlay() {
    if (mounted_) ::umount2(lower_.c_str(), MNT_DETACH);
    ::umount2(room_.c_str(), MNT_DETACH);
  }
  Overlay(const Overlay&) = delete;
  Overlay& operator=(const Overlay&) = delete;

  bool mounted() const { return mounted_; }

 private:
  std::filesystem::path lower_, room_;
  bool mounted_ = false;
};

}  // namespace mmrec::test
