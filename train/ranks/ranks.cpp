#include "train/ranks/ranks.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <set>

#include "runtime/threads.h"
#include "support/error.h"
#include "support/parse_number.h"

#ifdef MMREC_MPI
#include <mpi.h>
#include <sched.h>
#include <unistd.h>

#include <chrono>
#include <thread>
#endif

namespace mmrec {

namespace {

class AloneRank final : public Ranks {
 public:
  AloneRank() : Ranks(0, 1) {}
};

}  // namespace

bool Ranks::launched_to_follow() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"})
    if (const char* rank = std::getenv(name)) return std::strcmp(rank, "0") != 0;
  return false;
}

Ranks& Ranks::alone() {
  static AloneRank alone;
  return alone;
}

std::string Ranks::broadcast_text(std::string text) {
  text.resize(broadcast_value(text.size()));
  broadcast(std::as_writable_bytes(std::span(text)));
  return text;
}

std::vector<std::string> Ranks::gather_unless(bool interrupted, const std::string& text) {
  std::vector<std::string> texts = gather((interrupted ? "1" : "0") + text);
  for (std::string& theirs : texts) {
    interrupted = interrupted || theirs.front() == '1';
    theirs.erase(0, 1);
  }
  if (interrupted) throw Interrupted();
  return texts;
}

void Ranks::exchange(std::span<const Transfer> /*sends*/, std::span<const Transfer> /*receives*/) {}

void Ranks::abort(int code) { std::_Exit(code); }

#ifdef MMREC_MPI

namespace {

using Clock = std::chrono::steady_clock;

/// Returns whether mpirun, or srun with PMIx or PMI-2, has started this process, with others.
bool has_launcher() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_SIZE"})
    if (std::getenv(name)) return true;
  return false;
}

constexpr const char* kLimitName = "MMREC_RANK_LIMIT";
constexpr double kLimit = 300;  // s

double waiting_limit() {
  const char* text = std::getenv(kLimitName);
  if (!text) return kLimit;
  const std::optional<double> seconds = parse_number<double>(text);
  if (!seconds || !(*seconds > 0))
    fail_usage("{}={}: must be a number of seconds", kLimitName, text);
  return *seconds;
}

/// Messages are cut at this size, as MPI counts elements with an int.
constexpr size_t kMost = size_t{1} << 30;

class MpiRanks final : public Ranks {
 public:
  static std::unique_ptr<Ranks> start() {
    int provided = 0;
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided);
    int rank = 0, size = 1;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    return std::make_unique<MpiRanks>(rank, size);
  }

  MpiRanks(int rank, int size) : Ranks(rank, size), limit_(waiting_limit()) {
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    host_ = host;
    cpu_set_t cores;
    CPU_ZERO(&cores);
    sched_getaffinity(0, sizeof cores, &cores);
    std::string mine = host_ + "\n";
    for (int core = 0; core < CPU_SETSIZE; ++core)
      if (CPU_ISSET(core, &cores)) mine += fmt::format("{},", core);
    const std::vector<std::string> all = gather(mine);
    sharing_ = static_cast<int>(std::ranges::count(all, mine));
    std::set<std::string> hosts;
    for (const std::string& other : all) hosts.insert(other.substr(0, other.find('\n')));
    nodes_ = static_cast<int>(hosts.size());
  }
  ~MpiRanks() override { MPI_Finalize(); }

  std::string describe() const override {
    if (!are_many()) return "";
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    MPI_Get_library_version(version, &length);
    const std::string text(version, static_cast<size_t>(length));
    return fmt::format("{} ranks on {} node{}, {}", size(), nodes_, nodes_ == 1 ? "" : "s",
                       text.substr(0, text.find(',')));
  }

  int sharing_cores() const override { return sharing_; }

  void expect_answers() override { has_limit_ = true; }

  void broadcast(std::span<std::byte> bytes) override {
    for (; !bytes.empty(); bytes = bytes.subspan(std::min(kMost, bytes.size()))) {
      MPI_Request request;
      MPI_Ibcast(bytes.data(), static_cast<int>(std::min(kMost, bytes.size())), MPI_BYTE, 0,
                 MPI_COMM_WORLD, &request);
      wait({&request, 1});
    }
  }

  std::vector<std::string> gather(const std::string& text) override {
    const auto ranks = static_cast<size_t>(size());
    std::vector<int> counts(ranks), begins(ranks);
    const int mine = static_cast<int>(text.size());
    MPI_Request request;
    MPI_Iallgather(&mine, 1, MPI_INT, counts.data(), 1, MPI_INT, MPI_COMM_WORLD, &request);
    wait({&request, 1});
    for (size_t r = 1; r < ranks; ++r) begins[r] = begins[r - 1] + counts[r - 1];
    std::string all(static_cast<size_t>(begins.back() + counts.back()), '\0');
    MPI_Iallgatherv(text.data(), mine, MPI_BYTE, all.data(), counts.data(), begins.data(), MPI_BYTE,
                    MPI_COMM_WORLD, &request);
    wait({&request, 1});
    std::vector<std::string> texts;
    for (size_t r = 0; r < ranks; ++r)
      texts.push_back(all.substr(static_cast<size_t>(begins[r]), static_cast<size_t>(counts[r])));
    return texts;
  }

  void exchange(std::span<const Transfer> sends, std::span<const Transfer> receives) override {
    std::vector<MPI_Request> requests;
    for (const Transfer& transfer : receives) {
      MPI_Request& request = requests.emplace_back();
      MPI_Irecv(transfer.values.data(), static_cast<int>(transfer.values.size()), MPI_FLOAT,
                transfer.rank, 0, MPI_COMM_WORLD, &request);
    }
    for (const Transfer& transfer : sends) {
      MPI_Request& request = requests.emplace_back();
      MPI_Isend(transfer.values.data(), static_cast<int>(transfer.values.size()), MPI_FLOAT,
                transfer.rank, 0, MPI_COMM_WORLD, &request);
    }
    wait(requests);
  }

  void share(std::span<float> values, std::span<const int64_t> begins) override {
    std::vector<int> counts, offsets;
    for (size_t r = 0; r < static_cast<size_t>(size()); ++r) {
      counts.push_back(static_cast<int>(begins[r + 1] - begins[r]));
      offsets.push_back(static_cast<int>(begins[r]));
    }
    MPI_Request request;
    MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values.data(), counts.data(),
                    offsets.data(), MPI_FLOAT, MPI_COMM_WORLD, &request);
    wait({&request, 1});
  }

  void add(std::span<float> values) override {
    MPI_Request request;
    MPI_Iallreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()), MPI_FLOAT, MPI_SUM,
                   MPI_COMM_WORLD, &request);
    wait({&request, 1});
  }

  [[noreturn]] void abort(int code) override {
    MPI_Abort(MPI_COMM_WORLD, code);
    std::_Exit(code);
  }

 private:
  /// Waits for all of them. At first without a pause, since most are short.
  void wait(std::span<MPI_Request> requests) {
    constexpr auto kShort = std::chrono::milliseconds(2);
    const auto begin = Clock::now();
    for (;;) {
      int done = 0;
      MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE);
      if (done) return;
      const auto waited = Clock::now() - begin;
      if (has_limit_ && waited > std::chrono::duration<double>(limit_)) give_up();
      if (waited > kShort) {
        std::this_thread::sleep_for(std::chrono::microseconds(50));
      } else {
        std::this_thread::yield();
      }
    }
  }

  [[noreturn]] void give_up() {
    std::fputs(
        fmt::format("error: rank {} on {} has waited {} s for the others: one of them hangs, "
                    "or its node is lost. All ranks end; the run goes on from its last "
                    "checkpoint with --resume, with as many ranks as are left\n",
                    rank(), host_, limit_)
            .c_str(),
        stderr);
    abort(1);
  }

  const double limit_;
  bool has_limit_ = false;
  std::string host_;
  int sharing_ = 1, nodes_ = 1;
};

}  // namespace

std::unique_ptr<Ranks> Ranks::of_launcher() {
  if (!has_launcher()) return std::make_unique<AloneRank>();
  return MpiRanks::start();
}

#else

std::unique_ptr<Ranks> Ranks::of_launcher() {
  if (const char* size = std::getenv("OMPI_COMM_WORLD_SIZE"); size && std::string_view(size) != "1")
    fail_usage(
        "mpirun has started {} processes, but this build has no MPI; install libopenmpi-dev and "
        "build again",
        size);
  return std::make_unique<AloneRank>();
}

#endif

}  // namespace mmrec
