#include "support/atomic_file.h"

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <set>
#include <thread>
#include <utility>

#include "support/directory_lock.h"
#include "tests/common/expect_error.h"
#include "tests/common/overlay.h"
#include "tests/common/temporary_directory.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using test::expect_error;
using test::TemporaryDirectory;

std::set<std::string> entries(const fs::path& directory) {
  std::set<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory))
    names.insert(entry.path().filename().string());
  return names;
}

/// A small file system; needs the right to mount one.
class TinyDisk {
 public:
  TinyDisk(const fs::path& path, const char* options) : path_(path) {
    fs::create_directory(path);
    mounted_ = ::mount("tmpfs", path.c_str(), "tmpfs", 0, options) == 0;
  }
  ~TinyDisk() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  TinyDisk(const TinyDisk&) = delete;
  TinyDisk& operator=(const TinyDisk&) = delete;

  bool mounted() const { return mounted_; }
  bool make_read_only() {
    return ::mount("tmpfs", path_.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, nullptr) == 0;
  }

 private:
  fs::path path_;
  bool mounted_;
};

TEST(AtomicFile, ChecksInAdvanceWhatCannotBeWritten) {
  const TemporaryDirectory directory;
  const fs::path file = directory / "file";
  check_writable(file);
  EXPECT_EQ(entries(directory.path()), std::set<std::string>()) << "it leaves nothing";
  write_file_atomically(file, "old");
  check_writable(file);
  EXPECT_EQ(read_file(file), "old");
  EXPECT_EQ(entries(directory.path()), std::set<std::string>{"file"});
  expect_error([&] { check_writable(directory / "missing" / "file"); },
               {"missing/file", "No such file"});
  expect_error([&] { check_writable(directory.path()); }, {"not a regular file"});
}

TEST(AtomicFile, WritesPiecesOneAfterAnother) {
  const TemporaryDirectory directory;
  const std::string first = "one ", second(100'000, 'x'), third("\0three", 6);
  const std::array<std::span<const std::byte>, 4> pieces = {std::as_bytes(std::span(first)),
                                                            std::as_bytes(std::span(second)),
                                                            {},
                                                            std::as_bytes(std::span(third))};
  write_file_atomically(directory / "file", pieces);
  EXPECT_EQ(read_file(directory / "file"), first + second + third);
}

TEST(AtomicFile, ReplacesTheFileAndLeavesNoOther) {
  const TemporaryDirectory directory;
  write_file_atomically(directory / "file", "a longer old text");
  write_file_atomically(directory / "file", "new");
  EXPECT_EQ(read_file(directory / "file"), "new");
  write_file_atomically(directory / "file", "");
  EXPECT_EQ(read_file(directory / "file"), "");
  EXPECT_EQ(entries(directory.path()), std::set<std::string>{"file"});
}

TEST(AtomicFile, FollowsLinks) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "elsewhere");
  write_file_atomically(directory / "elsewhere/file", "old");
  fs::create_symlink("elsewhere/file", directory / "link");
  write_file_atomically(directory / "link", "new");
  EXPECT_TRUE(fs::is_symlink(directory / "link"));
  EXPECT_EQ(read_file(directory / "elsewhere/file"), "new");
}

TEST(AtomicFile, RefusesWhatIsNotARegularFile) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "sub");
  expect_error([&] { write_file_atomically(directory / "sub", "text"); },
               {"sub", "not a regular file"});
  ASSERT_EQ(::mkfifo((directory / "fifo").c_str(), 0600), 0);
  expect_error([&] { write_file_atomically(directory / "fifo", "text"); },
               {"fifo", "not a regular file"});
  expect_error([&] { write_file_atomically(directory / "missing/file", "text"); },
               {"missing/file", "No such file or directory", "check the path"});
  expect_error([&] { write_file_atomically("", "text"); }, {"cannot write"});
}

TEST(AtomicFile, ReadErrors) {
  const TemporaryDirectory directory;
  expect_error([&] { read_file(directory / "missing"); },
               {"cannot read", "missing", "No such file or directory"});
  expect_error([&] { read_file(directory.path()); },
               {"cannot read", directory.path().string(), "Is a directory"});
  if (::geteuid() == 0) GTEST_SKIP() << "root reads everything";
  write_file_atomically(directory / "secret", "text");
  fs::permissions(directory / "secret", fs::perms::none);
  expect_error([&] { read_file(directory / "secret"); },
               {"Permission denied", "check the permissions"});
}

TEST(AtomicFile, ReadsFilesWithoutAKnownSize) {
  std::ifstream stream("/proc/self/maps");
  if (!stream) GTEST_SKIP() << "no /proc";
  EXPECT_GT(read_file("/proc/self/maps").size(), 1000u);
}

/// Needs no special rights: the process's limit on file sizes simulates a full disk.
TEST(AtomicFile, FailedWriteKeepsTheOldFile) {
  const TemporaryDirectory directory;
  write_file_atomically(directory / "file", "old");
  rlimit limit;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small{4096, limit.rlim_max};
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  expect_error([&] { write_file_atomically(directory / "file", std::string(10'000, 'x')); },
               {"file", "File too large", "ulimit -f"});
  expect_error(
      [&] {
        write_directory_atomically(directory / "dir", [](const PathAt& partial) {
          write_file_atomically(partial / "a", std::string(10'000, 'x'));
        });
      },
      {"File too large"});
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(read_file(directory / "file"), "old");
  EXPECT_EQ(entries(directory.path()), std::set<std::string>{"file"});
}

TEST(AtomicFile, FullDisk) {
  const TemporaryDirectory directory;
  TinyDisk disk(directory / "disk", "size=64k");
  if (!disk.mounted()) GTEST_SKIP() << "may not mount a file system";
  write_file_atomically(directory / "disk/file", "old");
  expect_error([&] { write_file_atomically(directory / "disk/file", std::string(1 << 20, 'x')); },
               {"disk/file", "No space left", "free some space"});
  EXPECT_EQ(read_file(directory / "disk/file"), "old");
  EXPECT_EQ(entries(directory / "disk"), std::set<std::string>{"file"});

  AppendFile log(directory / "disk/log");
  expect_error([&] { log.append(std::string(1 << 20, 'x')); }, {"disk/log", "No space left"});
}

TEST(AtomicFile, ReadOnlyFileSystem) {
  const TemporaryDirectory directory;
  TinyDisk disk(directory / "disk", "size=64k");
  if (!disk.mounted() || !disk.make_read_only()) GTEST_SKIP() << "may not mount a file system";
  expect_error([&] { write_file_atomically(directory / "disk/file", "text"); },
               {"Read-only file system"});
  expect_error([&] { write_directory_atomically(directory / "disk/dir", [](const PathAt&) {}); },
               {"Read-only file system"});
  expect_error([&] { make_directory(directory / "disk/a/b"); }, {"Read-only file system"});
  expect_error([&] { AppendFile(directory / "disk/log"); }, {"Read-only file system"});
}

TEST(AtomicFile, MakesDirectories) {
  const TemporaryDirectory directory;
  make_directory(directory / "a/b/c");
  make_directory(directory / "a/b/c");
  EXPECT_TRUE(fs::is_directory(directory / "a/b/c"));
  write_file_atomically(directory / "file", "text");
  expect_error([&] { make_directory(directory / "file/sub"); },
               {"cannot create directory", "file/sub"});
}

TEST(AtomicFile, AppendsAcrossOpenings) {
  const TemporaryDirectory directory;
  { AppendFile(directory / "log").append("one\n"); }
  AppendFile log(directory / "log");
  log.append("two\n");
  log.append("three\n");
  EXPECT_EQ(read_file(directory / "log"), "one\ntwo\nthree\n");
}

void fill_with(const PathAt& partial, std::string_view text) {
  write_file_atomically(partial / "a", text);
  write_file_atomically(partial / "b", text);
}

TEST(AtomicDirectory, AppearsAndIsReplacedAtomically) {
  const TemporaryDirectory directory;
  const fs::path target = directory / "checkpoint";
  write_directory_atomically(target, [&](const PathAt& partial) {
    EXPECT_NE(partial.name().find("checkpoint.partial-"), std::string::npos);
    fill_with(partial, "old");
    EXPECT_FALSE(fs::exists(target));
  });
  EXPECT_EQ(read_file(target / "b"), "old");
  write_directory_atomically(target.string() + "/", [&](const PathAt& partial) {
    fill_with(partial, "new");
    EXPECT_EQ(read_file(target / "a"), "old");
  });
  EXPECT_EQ(read_file(target / "a"), "new");
  EXPECT_EQ(read_file(target / "b"), "new");
  EXPECT_EQ(entries(directory.path()), std::set<std::string>{"checkpoint"});
}

TEST(AtomicDirectory, FailureKeepsTheOldOne) {
  const TemporaryDirectory directory;
  const fs::path target = directory / "checkpoint";
  write_directory_atomically(target, [](const PathAt& partial) { fill_with(partial, "old"); });
  EXPECT_THROW(write_directory_atomically(target,
                                          [](const PathAt& partial) {
                                            fill_with(partial, "new");
                                            throw std::runtime_error("stopped");
                                          }),
               std::runtime_error);
  EXPECT_EQ(read_file(target / "a"), "old");
  EXPECT_EQ(entries(directory.path()), std::set<std::string>{"checkpoint"});
}

/// A process that stops in the middle of write_directory_atomically until it is killed.
class Writer {
 public:
  explicit Writer(const fs::path& path) {
    const std::set<std::string> others = entries(path.parent_path());
    id_ = ::fork();
    if (id_ == 0) {
      write_directory_atomically(path, [](const PathAt&) { ::pause(); });
      ::_exit(0);
    }
    const std::string prefix = path.filename().string() + ".partial-";
    for (; partial_.empty(); ::usleep(1000))
      for (const std::string& name : entries(path.parent_path()))
        if (name.starts_with(prefix) && !others.contains(name) &&
            is_locked(path.parent_path() / name))
          partial_ = path.parent_path() / name;
  }
  ~Writer() { kill(); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  const fs::path& partial() const { return partial_; }
  void kill() {
    if (id_ <= 0) return;
    ::kill(id_, SIGKILL);
    ::waitpid(std::exchange(id_, 0), nullptr, 0);
  }

 private:
  pid_t id_ = 0;
  fs::path partial_;
};

TEST(AtomicDirectory, RemovesLeftoversOfKilledProcessesOnly) {
  const TemporaryDirectory directory;
  const fs::path target = directory / "data";
  Writer dead(target), alive(target), other(directory / "data2");
  dead.kill();
  other.kill();
  const fs::path locked = directory / "data.partial-00000000deadbeef",
                 old = directory / "data.old-0123456789abcdef";
  fs::create_directory(locked);
  fs::create_directory(old);
  write_file_atomically(old / "a", "the only one");
  {
    const DirectoryLock lock(locked);
    EXPECT_EQ(std::ranges::count(remove_abandoned(target), locked), 0);
  }
  EXPECT_FALSE(fs::exists(dead.partial()));
  EXPECT_TRUE(fs::exists(alive.partial()));
  EXPECT_TRUE(fs::exists(other.partial())) << "is of another folder";
  EXPECT_EQ(read_file(target / "a"), "the only one") << "takes its name back";
  EXPECT_EQ(remove_abandoned(target), std::vector<fs::path>{locked});
  fs::create_directory(directory / "data.kept-0000000000000001");
  write_file_atomically(directory / "data.kept-0000000000000001/a", "whole");
  remove_abandoned(target);
  EXPECT_EQ(read_file(target / "a"), "whole") << "what had its name may have been half removed";
  EXPECT_EQ(remove_abandoned(directory / "missing/data"), std::vector<fs::path>{});
}

TEST(AtomicDirectory, RefusesToLoseOtherFiles) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "home");
  write_file_atomically(directory / "home/thesis", "years of work");
  const auto write = [&](const char* name) {
    write_directory_atomically(directory / name,
                               [](const PathAt& partial) { fill_with(partial, "x"); });
  };
  expect_error([&] { write("home"); }, {"home", "'thesis' would be lost"});
  expect_error([&] { write("home/thesis"); }, {"thesis", "not a directory"});
  expect_error([&] { write("missing/checkpoint"); },
               {"missing/checkpoint", "No such file or directory"});
  EXPECT_EQ(read_file(directory / "home/thesis"), "years of work");
  EXPECT_EQ(entries(directory / "home"), std::set<std::string>{"thesis"});
}

/// From here on the system cannot swap names, as on some network file systems. Other renames work.
bool forbid_swapping_names() {
  std::array<sock_filter, 6> program = {
      {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
       BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_renameat2, 0, 3),
       BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[4])),
       BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, RENAME_EXCHANGE, 0, 1),
       BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
       BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)}};
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/// From here on the system has no file locks, as on some network file systems.
bool forbid_locks() {
  std::array<sock_filter, 4> program = {
      {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
       BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_flock, 0, 1),
       BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOLCK),
       BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)}};
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

TEST(AtomicDirectory, NothingCountsAsAbandonedWithoutLocks) {
  constexpr int kKept = 0, kRemoved = 1, kNoFilter = 2;
  const TemporaryDirectory directory;
  const fs::path partial = directory / "data.partial-0123456789abcdef";
  fs::create_directory(partial);
  const pid_t child = ::fork();
  if (child == 0) {
    if (!forbid_locks()) ::_exit(kNoFilter);
    const bool held = DirectoryLock(directory.path()).is_held(),
               tidied = !remove_abandoned(directory / "data").empty();
    ::_exit(held || tidied ? kRemoved : kKept);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  if (WEXITSTATUS(status) == kNoFilter) GTEST_SKIP() << "may not filter system calls";
  EXPECT_EQ(status, kKept);
  EXPECT_TRUE(fs::exists(partial));
  EXPECT_EQ(remove_abandoned(directory / "data").size(), 1u) << "with locks it is";
}

TEST(AtomicDirectory, IsReadInASingleVersion) {
  const TemporaryDirectory directory;
  const fs::path target = directory / "data";
  write_directory_atomically(target, [](const PathAt& partial) { fill_with(partial, "0"); });
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int version = 1; !stop; ++version)
      write_directory_atomically(
          target, [&](const PathAt& partial) { fill_with(partial, std::to_string(version)); });
  });
  std::set<std::string> versions;
  for (int i = 0; i < 300; ++i)
    read_replaceable_folder(target, [&](const PathAt& held) {
      const std::string a = read_file(held / "a");
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      EXPECT_EQ(read_file(held / "b"), a);
      versions.insert(a);
    });
  stop = true;
  writer.join();
  EXPECT_GT(versions.size(), 1u);
  expect_error([&] { read_replaceable_folder(directory / "missing", [](const PathAt&) {}); },
               {"missing", "No such file"});
}

TEST(AtomicDirectory, ReplacesWithoutSwappingNames) {
  constexpr int kReplaced = 0, kNoFilter = 2;
  const TemporaryDirectory directory;
  const fs::path target = directory / "checkpoint";
  write_directory_atomically(target, [](const PathAt& partial) { fill_with(partial, "old"); });
  const pid_t child = ::fork();
  if (child == 0) {
    if (!forbid_swapping_names()) ::_exit(kNoFilter);
    write_directory_atomically(target, [](const PathAt& partial) { fill_with(partial, "new"); });
    ::_exit(kReplaced);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == kNoFilter) GTEST_SKIP() << "may not filter system calls";
  EXPECT_EQ(WEXITSTATUS(status), kReplaced);
  EXPECT_EQ(read_file(target / "a"), "new");
  EXPECT_EQ(entries(directory.path()), std::set<std::string>{"checkpoint"});
}

TEST(AtomicDirectory, TokensAreUnique) {
  std::set<std::string> tokens;
  for (int i = 0; i < 1000; ++i) tokens.insert(unique_token());
  EXPECT_EQ(tokens.size(), 1000u);
  EXPECT_EQ(tokens.begin()->size(), 16u);
  for (const char* name :
       {"a.partial-0000000000004711", "a.b.old-0123456789abcdef", "a-b.kept-ffffffffffffffff"})
    EXPECT_TRUE(is_leftover(name)) << name;
  for (const char* name :
       {"a", "a.partial", "a.partial-", "a.old-1999", "a.kept-2", "a.partial-012345678X123456",
        ".partial-0123456789abcdef", "a.old-0123456789abcdef.txt", "my.golden-0123456789abcdef"})
    EXPECT_FALSE(is_leftover(name)) << name;
}

TEST(HeldDirectory, StaysTheSameWhenItsNameIsReused) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "run");
  const DirectoryLock held(directory / "run");
  AppendFile log(held / "log");
  fs::rename(directory / "run", directory / "moved");
  fs::create_directory(directory / "run");
  write_file_atomically(held / "file", "text");
  write_directory_atomically(held / "folder",
                             [](const PathAt& partial) { fill_with(partial, "x"); });
  write_directory_atomically(held / "folder",
                             [](const PathAt& partial) { fill_with(partial, "y"); });
  make_directory(held / "deep/er");
  move_tree(held / "folder", held / "deep/er/folder");
  fs::create_symlink("deep/er/folder/a", directory / "moved/link");
  write_file_atomically(held / "link", "by a link");
  log.append("line\n");
  EXPECT_EQ(entries(directory / "run"), std::set<std::string>{});
  EXPECT_EQ(entries(directory / "moved"), (std::set<std::string>{"deep", "file", "link", "log"}));
  EXPECT_EQ(read_file(held / "deep/er/folder/a"), "by a link");
  EXPECT_EQ(read_file(held / "deep/er/folder/b"), "y");
  EXPECT_EQ((held / "file").shown(), directory / "run/file");
  EXPECT_EQ(held.current_path(), fs::canonical(directory / "moved"));
  remove_tree(held / "deep");
  EXPECT_EQ(entries(directory / "moved"), (std::set<std::string>{"file", "link", "log"}));
  expect_error([&] { read_file(held / "missing"); },
               {"cannot read", (directory / "run/missing").string(), "No such file"});
}

TEST(Trees, AreCopiedWithLinksAndRemovedWithoutFollowingThem) {
  const TemporaryDirectory directory;
  make_directory(directory / "a/sub");
  write_file_atomically(directory / "a/sub/file", "text");
  write_file_atomically(directory / "outside", "precious");
  fs::create_symlink(directory / "outside", directory / "a/link");
  fs::create_symlink(directory.path(), directory / "a/loop");
  copy_tree(directory / "a", directory / "b");
  EXPECT_EQ(entries(directory / "b"), (std::set<std::string>{"link", "loop", "sub"}));
  EXPECT_EQ(read_file(directory / "b/sub/file"), "text");
  EXPECT_EQ(fs::read_symlink(directory / "b/link"), directory / "outside");
  remove_tree(directory / "a");
  remove_tree(directory / "missing");
  EXPECT_EQ(entries(directory.path()), (std::set<std::string>{"b", "outside"}));
  EXPECT_EQ(read_file(directory / "outside"), "precious");
}

TEST(Overlay, DirectoriesOfTheLowerLayerAreReplacedMovedAndRemoved) {
  const TemporaryDirectory directory;
  for (const char* name : {"replaced", "moved", "removed"})
    write_directory_atomically(directory / name,
                               [](const PathAt& partial) { fill_with(partial, "old"); });
  const TemporaryDirectory elsewhere;
  const test::Overlay overlay(directory.path(), elsewhere / "room");
  if (!overlay.mounted()) GTEST_SKIP() << "may not mount an overlay";
  ASSERT_NE(std::rename((directory / "moved").c_str(), (directory / "new").c_str()), 0);
  ASSERT_EQ(errno, EXDEV);
  write_directory_atomically(directory / "replaced",
                             [](const PathAt& partial) { fill_with(partial, "new"); });
  move_tree(directory / "moved", directory / "new");
  remove_directory_atomically(directory / "removed");
  EXPECT_EQ(entries(directory.path()), (std::set<std::string>{"new", "replaced"}));
  EXPECT_EQ(read_file(directory / "replaced/b"), "new");
  EXPECT_EQ(read_file(directory / "new/b"), "old");
}

}  // namespace
}  // namespace mmrec
