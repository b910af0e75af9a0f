#include "train/atomic_file.h"

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
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <fstream>
#include <set>
#include <utility>

#include "tests/expect_error.h"
#include "tests/temporary_directory.h"
#include "train/directory_lock.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using test::expect_error;
using test::TemporaryDirectory;

std::set<std::string> entries(const fs::path& directory) {
  std::set<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) names.insert(entry.path().filename().string());
  return names;
}

/// A small file system of its own; needs the right to mount one.
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
  bool make_read_only() { return ::mount("tmpfs", path_.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, nullptr) == 0; }

 private:
  fs::path path_;
  bool mounted_;
};

TEST(AtomicFile, TellsBeforehandWhatCannotBeWritten) {
  const TemporaryDirectory directory;
  const fs::path file = directory / "file";
  check_writable(file);
  EXPECT_EQ(entries(directory.path()), std::set<std::string>()) << "it leaves nothing";
  write_file_atomically(file, "old");
  check_writable(file);
  EXPECT_EQ(read_file(file), "old");
  EXPECT_EQ(entries(directory.path()), std::set<std::string>{"file"});
  expect_error([&] { check_writable(directory / "missing" / "file"); }, {"missing/file", "No such file"});
  expect_error([&] { check_writable(directory.path()); }, {"not a regular file"});
}

TEST(AtomicFile, WritesPiecesOneAfterAnother) {
  const TemporaryDirectory directory;
  const std::string first = "one ", second(100'000, 'x'), third("\0three", 6);
  const std::array<std::span<const std::byte>, 4> pieces = {
      std::as_bytes(std::span(first)), std::as_bytes(std::span(second)), {}, std::as_bytes(std::span(third))};
  write_file_atomically(directory / "file", pieces);
  EXPECT_EQ(read_file(directory / "file"), first + second + third);
}

TEST(AtomicFile, ReplacesAndLeavesNothingElse) {
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

TEST(AtomicFile, RefusesWhatIsNoFile) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "sub");
  expect_error([&] { write_file_atomically(directory / "sub", "text"); }, {"sub", "not a regular file"});
  ASSERT_EQ(::mkfifo((directory / "fifo").c_str(), 0600), 0);
  expect_error([&] { write_file_atomically(directory / "fifo", "text"); }, {"fifo", "not a regular file"});
  expect_error([&] { write_file_atomically(directory / "missing/file", "text"); }, {"missing/file", "No such file or directory", "check the path"});
  expect_error([&] { write_file_atomically("", "text"); }, {"cannot write"});
}

TEST(AtomicFile, ReadErrors) {
  const TemporaryDirectory directory;
  expect_error([&] { read_file(directory / "missing"); }, {"cannot read", "missing", "No such file or directory"});
  expect_error([&] { read_file(directory.path()); }, {"cannot read", directory.path().string(), "Is a directory"});
  if (::geteuid() == 0) GTEST_SKIP() << "root reads everything";
  write_file_atomically(directory / "secret", "text");
  fs::permissions(directory / "secret", fs::perms::none);
  expect_error([&] { read_file(directory / "secret"); }, {"Permission denied", "check the permissions"});
}

TEST(AtomicFile, ReadsFilesThatTellNoSize) {
  std::ifstream stream("/proc/self/maps");
  if (!stream) GTEST_SKIP() << "no /proc";
  EXPECT_GT(read_file("/proc/self/maps").size(), 1000u);
}

/// Works without any rights: the process' own limit on the size of files takes the place of a full disk.
TEST(AtomicFile, FailedWriteKeepsTheOldFile) {
  const TemporaryDirectory directory;
  write_file_atomically(directory / "file", "old");
  rlimit limit;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small{4096, limit.rlim_max};
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  expect_error([&] { write_file_atomically(directory / "file", std::string(10'000, 'x')); }, {"file", "File too large", "ulimit -f"});
  expect_error(
      [&] {
        write_directory_atomically(directory / "dir",
                                   [](const fs::path& partial) { write_file_atomically(partial / "a", std::string(10'000, 'x')); });
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
  expect_error([&] { write_file_atomically(directory / "disk/file", std::string(1 << 20, 'x')); }, {"disk/file", "No space left", "free some space"});
  EXPECT_EQ(read_file(directory / "disk/file"), "old");
  EXPECT_EQ(entries(directory / "disk"), std::set<std::string>{"file"});

  AppendFile log(directory / "disk/log");
  expect_error([&] { log.append(std::string(1 << 20, 'x')); }, {"disk/log", "No space left"});
}

TEST(AtomicFile, ReadOnlyFileSystem) {
  const TemporaryDirectory directory;
  TinyDisk disk(directory / "disk", "size=64k");
  if (!disk.mounted() || !disk.make_read_only()) GTEST_SKIP() << "may not mount a file system";
  expect_error([&] { write_file_atomically(directory / "disk/file", "text"); }, {"Read-only file system"});
  expect_error([&] { write_directory_atomically(directory / "disk/dir", [](const fs::path&) {}); }, {"Read-only file system"});
  expect_error([&] { make_directory(directory / "disk/a/b"); }, {"Read-only file system"});
  expect_error([&] { AppendFile(directory / "disk/log"); }, {"Read-only file system"});
}

TEST(AtomicFile, MakesDirectories) {
  const TemporaryDirectory directory;
  make_directory(directory / "a/b/c");
  make_directory(directory / "a/b/c");
  EXPECT_TRUE(fs::is_directory(directory / "a/b/c"));
  write_file_atomically(directory / "file", "text");
  expect_error([&] { make_directory(directory / "file/sub"); }, {"cannot create directory", "file/sub"});
}

TEST(AtomicFile, AppendsAcrossOpenings) {
  const TemporaryDirectory directory;
  { AppendFile(directory / "log").append("one\n"); }
  AppendFile log(directory / "log");
  log.append("two\n");
  log.append("three\n");
  EXPECT_EQ(read_file(directory / "log"), "one\ntwo\nthree\n");
}

void fill_with(const fs::path& partial, std::string_view text) {
  write_file_atomically(partial / "a", text);
  write_file_atomically(partial / "b", text);
}

TEST(AtomicDirectory, AppearsWholeAndIsReplacedWhole) {
  const TemporaryDirectory directory;
  const fs::path target = directory / "checkpoint";
  write_directory_atomically(target, [&](const fs::path& partial) {
    EXPECT_NE(partial.filename().string().find("checkpoint.partial-"), std::string::npos);
    fill_with(partial, "old");
    EXPECT_FALSE(fs::exists(target));
  });
  EXPECT_EQ(read_file(target / "b"), "old");
  write_directory_atomically(target.string() + "/", [&](const fs::path& partial) {
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
  write_directory_atomically(target, [](const fs::path& partial) { fill_with(partial, "old"); });
  EXPECT_THROW(write_directory_atomically(target,
                                          [](const fs::path& partial) {
                                            fill_with(partial, "new");
                                            throw std::runtime_error("stopped");
                                          }),
               std::runtime_error);
  EXPECT_EQ(read_file(target / "a"), "old");
  EXPECT_EQ(entries(directory.path()), std::set<std::string>{"checkpoint"});
}

TEST(AtomicDirectory, StartsAfreshWhereAnEarlierProcessWasKilled) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / fmt::format("checkpoint.partial-{}", ::getpid()));
  write_file_atomically(directory / fmt::format("checkpoint.partial-{}/rest", ::getpid()), "half");
  write_directory_atomically(directory / "checkpoint", [](const fs::path& partial) { fill_with(partial, "new"); });
  EXPECT_EQ(entries(directory / "checkpoint"), (std::set<std::string>{"a", "b"}));
}

/// A process that stays in the middle of write_directory_atomically until it is killed.
class Writer {
 public:
  explicit Writer(const fs::path& path) : id_(::fork()) {
    if (id_ == 0) {
      write_directory_atomically(path, [](const fs::path&) { ::pause(); });
      ::_exit(0);
    }
    partial_ = fs::path(path) += fmt::format(".partial-{}", id_);
    while (!fs::exists(partial_)) ::usleep(1000);
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
  pid_t id_;
  fs::path partial_;
};

TEST(AtomicDirectory, WhatKilledProcessesLeftIsRemovedAndWhatOthersWriteIsNot) {
  const TemporaryDirectory directory;
  const fs::path target = directory / "data";
  Writer dead(target), alive(target), other(directory / "data2");
  dead.kill();
  other.kill();
  // Locked by a process that this machine does not know.
  constexpr int kNobody = 1 << 30;
  const fs::path locked = directory / fmt::format("data.partial-{}", kNobody), old = directory / fmt::format("data.old-{}", kNobody);
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
  EXPECT_EQ(remove_abandoned(directory / "missing/data"), std::vector<fs::path>{});
}

TEST(AtomicDirectory, RefusesToLoseOtherFiles) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "home");
  write_file_atomically(directory / "home/thesis", "years of work");
  const auto write = [&](const char* name) {
    write_directory_atomically(directory / name, [](const fs::path& partial) { fill_with(partial, "x"); });
  };
  expect_error([&] { write("home"); }, {"home", "'thesis' would be lost"});
  expect_error([&] { write("home/thesis"); }, {"thesis", "not a directory"});
  expect_error([&] { write("missing/checkpoint"); }, {"missing/checkpoint", "No such file or directory"});
  EXPECT_EQ(read_file(directory / "home/thesis"), "years of work");
  EXPECT_EQ(entries(directory / "home"), std::set<std::string>{"thesis"});
}

/// From here on the system cannot swap names, as on some network file systems; other renames work.
bool forbid_swapping_names() {
  std::array<sock_filter, 6> program = {
      {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_renameat2, 0, 3),
       BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[4])), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, RENAME_EXCHANGE, 0, 1),
       BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)}};
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

TEST(AtomicDirectory, ReplacesWithoutSwappingNames) {
  constexpr int kReplaced = 0, kNoFilter = 2;
  const TemporaryDirectory directory;
  const fs::path target = directory / "checkpoint";
  write_directory_atomically(target, [](const fs::path& partial) { fill_with(partial, "old"); });
  const pid_t child = ::fork();
  if (child == 0) {
    if (!forbid_swapping_names()) ::_exit(kNoFilter);
    write_directory_atomically(target, [](const fs::path& partial) { fill_with(partial, "new"); });
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

}  // namespace
}  // namespace mmrec
