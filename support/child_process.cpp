#include "support/child_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "support/error.h"
#include "support/file_descriptor.h"

namespace mmrec {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail_to_start(const std::string& what, int error) {
  fail("cannot start {}: {}", what,
       error == EAGAIN ? "the system allows no more processes (ulimit -u, or a container's limit)"
                       : std::strerror(error));
}

/// Returns the strings as exec() takes them.
std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& string : strings) pointers.push_back(const_cast<char*>(string.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& words, const fs::path& output,
                           const fs::path& errors, const Inheritance& inheritance) {
  const FileDescriptor none("read", "/dev/null", O_RDONLY | O_CLOEXEC);
  std::optional<FileDescriptor> file, errors_file;
  if (!output.empty()) file.emplace("write", output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC);
  if (!errors.empty())
    errors_file.emplace("write", errors, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC);
  const std::vector<char*> arguments = pointers(words);
  std::vector<char*> variables;
  if (inheritance.environment) variables = pointers(*inheritance.environment);
  char* const* const environment = inheritance.environment ? variables.data() : environ;
  int failure[2];  // The child reports a failed exec here; a successful exec closes the pipe.
  if (::pipe2(failure, O_CLOEXEC) != 0) fail("cannot make a pipe: {}", std::strerror(errno));
  const pid_t parent = ::getpid();
  id_ = ::fork();
  if (id_ == 0) {  // only async-signal-safe calls between fork and exec
    ::setpgid(0, 0);
    ::signal(inheritance.last_signal, SIG_DFL);  // this process may ignore it
    ::prctl(PR_SET_PDEATHSIG, inheritance.last_signal);
    if (::getppid() == parent && ::dup2(none, STDIN_FILENO) >= 0 &&
        (!file || (::dup2(*file, STDOUT_FILENO) >= 0 && ::dup2(*file, STDERR_FILENO) >= 0)) &&
        (!errors_file || ::dup2(*errors_file, STDERR_FILENO) >= 0))
      ::execvpe(arguments[0], arguments.data(), environment);
    const int error = errno;
    [[maybe_unused]] const ssize_t written = ::write(failure[1], &error, sizeof error);
    ::_exit(127);
  }
  const int fork_error = id_ < 0 ? errno : 0;
  ::close(failure[1]);
  int error = fork_error;
  if (id_ > 0 && ::read(failure[0], &error, sizeof error) != sizeof error) error = 0;
  ::close(failure[0]);
  if (error == 0) return;
  if (id_ > 0) wait();
  id_ = 0;
  fail_to_start(words[0], error);
}

ChildProcess::ChildProcess(const std::function<int()>& body) {
  const pid_t parent = ::getpid();
  id_ = ::fork();
  if (id_ < 0) fail_to_start("a process", errno);
  ::setpgid(id_, 0);  // in both, so that the group is there for whoever comes first
  if (id_ > 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // others it would handle as this process does
  ::_exit(::getppid() == parent ? body() : 1);
}

ChildProcess::~ChildProcess() {
  if (id_ <= 0) return;
  send(SIGKILL);
  wait();
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept : id_(std::exchange(other.id_, 0)) {}
ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  std::swap(id_, other.id_);
  return *this;
}

void ChildProcess::send(int signal) const {
  if (id_ > 0) ::kill(-id_, signal);
}

std::optional<int> ChildProcess::poll() { return reap(WNOHANG); }
int ChildProcess::wait() { return *reap(0); }

std::optional<int> ChildProcess::reap(int options) {
  int status = 0;
  pid_t ended = 0;
  while ((ended = ::waitpid(id_, &status, options)) < 0 && errno == EINTR) {
  }
  if (ended == 0) return std::nullopt;
  id_ = 0;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

fs::path beside_program(const fs::path& program, const std::string& name) {
  const bool installed = program.filename().string().starts_with(kInstalledPrefix);
  return program.parent_path() / ((installed ? kInstalledPrefix : "") + name);
}

fs::path sibling_program(const std::string& name) {
  const fs::path path = beside_program(fs::read_symlink("/proc/self/exe"), name);
  if (!fs::exists(path)) fail("there is no {}; build it with 'make build'", path.string());
  return path;
}

}  // namespace mmrec
