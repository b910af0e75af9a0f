#include "train/ranks/ranks.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "runtime/threads.h"
#include "support/counted.h"
#include "support/error.h"
#include "support/host_name.h"
#include "support/parse_number.h"

#ifdef MMREC_MPI
#include <mpi.h>
#include <sched.h>
#endif

namespace mmrec {

namespace {

using Clock = std::chrono::steady_clock;

/// What one rank alone has to communicate.
struct Nothing final : Ranks::Pending {
  bool is_done() override { return true; }
};

/// What mpirun, or srun with PMIx or PMI-2, says of this process.
struct Launch {
  std::string rank, size;  // size: "" if it does not say
};

/// Returns none if none of them has started this process. To be called before MPI_Init(), which
/// sets these variables too.
std::optional<Launch> launch() {
  constexpr std::pair<const char*, const char*> kNames[] = {
      {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},  // first: mpirun may run within a srun
      {"PMIX_RANK", ""},
      {"PMI_RANK", "PMI_SIZE"}};
  for (const auto& [rank_name, size_name] : kNames)
    if (const char* const rank = std::getenv(rank_name)) {
      const char* const size = std::getenv(size_name);
      return Launch{rank, size ? size : ""};
    }
  return std::nullopt;
}

/// Returns how many processes srun has started, this one among them; "" if it has not.
std::string tasks_of_srun() {
  const char* const tasks = std::getenv("SLURM_STEP_NUM_TASKS");
  return tasks ? tasks : "";
}

class AloneRank final : public Ranks {
 public:
  AloneRank() : Ranks(0, 1) {}
};

}  // namespace

Ranks::Ranks(int rank, int size)
    : rank_(rank), size_(size), name_(fmt::format("rank {} on {}", rank, host_name())) {}

bool Ranks::launched_to_follow() {
  const std::optional<Launch> launched = launch();
  return launched && launched->rank != "0";
}

std::vector<std::string> Ranks::environment_of_others() {
  constexpr std::array kPrefixes{"OMPI_", "PMI", "SLURM_STEP_"};  // PMI: also PMI2_, PMIX_
  std::vector<std::string> variables;
  for (char** variable = environ; *variable; ++variable)
    if (const std::string_view text = *variable; std::ranges::none_of(
            kPrefixes, [&](const char* prefix) { return text.starts_with(prefix); }))
      variables.emplace_back(text);
  return variables;
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

std::vector<std::string> Ranks::gather_words(const std::string& text) {
  std::vector<std::string> words = gather(text);
  std::erase(words, "");
  return words;
}

std::string Ranks::common_problem(const std::string& problem) {
  const std::vector<std::string> all = gather(problem);
  if (std::ranges::count(all, problem) == size()) return problem;
  const std::string mine = problem.empty() ? "" : name() + ": " + problem;
  return fmt::format("{}", fmt::join(gather_words(mine), "\n"));
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

std::unique_ptr<Ranks::Pending> Ranks::exchange(std::span<const Transfer> /*sends*/,
                                                std::span<const Transfer> /*receives*/,
                                                int /*tag*/) {
  return std::make_unique<Nothing>();
}

std::unique_ptr<Ranks::Pending> Ranks::share(std::span<float> values,
                                             std::span<const int64_t> begins, int tag) {
  const auto part_of = [&](int rank) {
    const auto begin = static_cast<size_t>(begins[static_cast<size_t>(rank)]);
    return values.subspan(begin,
                          static_cast<size_t>(begins[static_cast<size_t>(rank) + 1]) - begin);
  };
  std::vector<Transfer> sends, receives;
  for (int other = 0; other < size(); ++other) {
    if (other == rank()) continue;
    sends.push_back({other, part_of(rank())});
    receives.push_back({other, part_of(other)});
  }
  return exchange(sends, receives, tag);
}

std::unique_ptr<Ranks::Pending> Ranks::add(std::span<float> /*values*/) {
  return std::make_unique<Nothing>();
}

Ranks::Wait::Wait(Ranks& ranks) : ranks_(ranks), begin_(Clock::now()) {}

void Ranks::Wait::pause() {
  constexpr auto kShort = std::chrono::milliseconds(2);  // most are shorter
  const auto waited = Clock::now() - begin_;
  ranks_.check_limit(waited);
  if (waited > kShort) {
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  } else {
    std::this_thread::yield();
  }
}

void Ranks::finish(Pending& pending) {
  for (Wait wait(*this); !pending.is_done();) wait.pause();
}

void Ranks::abort(int code) { std::_Exit(code); }

#ifdef MMREC_MPI

namespace {

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

/// Returns the components that Open MPI has selected of a kind, such as "pml": there are variables
/// with their versions. Returns none with another MPI.
std::set<std::string> components(const std::string& kind) {
  const std::string begin = kind + "_", end = "_major_version";
  std::set<std::string> names;
  int provided = 0, variables = 0;
  if (MPI_T_init_thread(MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS) return names;
  MPI_T_cvar_get_num(&variables);
  for (int i = 0; i < variables; ++i) {
    char text[256] = "";
    int length = sizeof text;
    if (MPI_T_cvar_get_info(i, text, &length, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
                            nullptr) != MPI_SUCCESS)
      continue;
    const std::string name = text;
    if (name.starts_with(begin) && name.ends_with(end))
      names.insert(name.substr(begin.size(), name.size() - begin.size() - end.size()));
  }
  MPI_T_finalize();
  return names;
}

/// Returns what messages go through, where Open MPI says it: "shared memory and tcp". Where it
/// chooses for each pair of ranks, "openib or tcp". within, between: whether messages are sent
/// within a node, and between nodes.
std::string describe_network(bool within, bool between) {
  const std::set<std::string> pml = components("pml");
  if (pml.contains("cm")) return fmt::format("{}", fmt::join(components("mtl"), " or "));
  if (!pml.contains("ob1")) return fmt::format("{}", fmt::join(pml, " or "));
  std::set<std::string> transports = components("btl");
  transports.erase("self");
  const bool has_shared_memory = transports.erase("vader") + transports.erase("sm") > 0;
  std::vector<std::string> parts;
  if (within && has_shared_memory) parts.push_back("shared memory");
  if (between || !has_shared_memory)
    parts.push_back(fmt::format("{}", fmt::join(transports, " or ")));
  return fmt::format("{}", fmt::join(parts, " and "));
}

/// Messages are cut at this size, as MPI counts elements with an int.
constexpr size_t kMost = size_t{1} << 30;

class MpiPending final : public Ranks::Pending {
 public:
  explicit MpiPending(std::vector<MPI_Request> begun) : requests_(std::move(begun)) {}
  bool is_done() override {
    int done = 0;
    MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done, MPI_STATUSES_IGNORE);
    return done != 0;
  }

 private:
  std::vector<MPI_Request> requests_;
};

/// Calls begin(values, count, rank) for pieces of the transfers: the network is better used by
/// several messages at a time than by one. (Four ranks that send 8 MB each at 1 Gbit/s: 260 ms in
/// place of 352.)
template <class Begin>
void in_pieces(std::span<const Ranks::Transfer> transfers, Begin begin) {
  constexpr size_t kPiece = size_t{1} << 18;  // floats
  for (const auto& [rank, values] : transfers)
    for (size_t at = 0; at < values.size(); at += kPiece)
      begin(values.data() + at, static_cast<int>(std::min(kPiece, values.size() - at)), rank);
}

class MpiRanks final : public Ranks {
 public:
  static std::unique_ptr<Ranks> start(const Launch& launched) {
    // Open MPI's own choice is 1: then the announcement of a message waits behind the data that
    // are under way the other way. (Two ranks, 1 Gbit/s: a step of 210 ms in place of 250.)
    ::setenv("OMPI_MCA_btl_tcp_links", "2", /*overwrite=*/0);
    int provided = 0;
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided);
    int rank = 0, size = 1;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (launched.rank != std::to_string(rank) ||
        (!launched.size.empty() && launched.size != std::to_string(size)))
      fail_usage(
          "rank {} of the launcher is rank {} of {} for MPI, which does not know this launcher; "
          "start it with srun --mpi=pmix, or with mpirun",
          launched.rank, rank, size);
    return std::make_unique<MpiRanks>(rank, size);
  }

  MpiRanks(int rank, int size) : Ranks(rank, size), limit_(waiting_limit()) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    sched_getaffinity(0, sizeof cores, &cores);
    std::string mine(reinterpret_cast<const char*>(&cores), sizeof cores);
    mine += host_name();
    const std::vector<std::string> all = gather(mine);
    sharing_ = static_cast<int>(std::ranges::count(all, mine));
    for (const std::string& other : all) {
      Node& node = nodes_[hosts_.emplace_back(other.substr(sizeof cores))];
      std::memcpy(&cores, other.data(), sizeof cores);
      CPU_OR(&node.cores, &node.cores, &cores);
      ++node.ranks;
    }
  }
  ~MpiRanks() override { MPI_Finalize(); }

  int sharing_cores() const override { return sharing_; }

  void tell_threads(int threads) override {
    const std::vector<std::string> all = gather(fmt::format("{}", threads));
    for (size_t rank = 0; rank < all.size(); ++rank) {
      const int theirs = std::stoi(all[rank]);
      nodes_[hosts_[rank]].threads += theirs;
      fewest_ = rank == 0 ? theirs : std::min(fewest_, theirs);
      most_ = std::max(most_, theirs);
    }
  }

  std::string describe() const override {
    if (!are_many()) return "";
    const std::string threads = fewest_ == most_ ? counted(most_, "thread") + " each"
                                                 : fmt::format("{} to {} threads", fewest_, most_);
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    MPI_Get_library_version(version, &length);
    const std::string text(version, static_cast<size_t>(length));
    const bool within =
        std::ranges::any_of(nodes_, [](const auto& n) { return n.second.ranks > 1; });
    const std::string network = describe_network(within, nodes_.size() > 1);
    return fmt::format("{} on {}, {}, {}{}{}", counted(size(), "rank"),
                       counted(nodes_.size(), "node"), threads, text.substr(0, text.find(',')),
                       network.empty() ? "" : ", ", network);
  }

  std::string warning() const override {
    std::vector<std::string> crowded;
    for (const auto& [host, node] : nodes_)
      if (const int cores = CPU_COUNT(&node.cores); node.ranks > 1 && node.threads > cores)
        crowded.push_back(fmt::format("{} has {} on {}", host, counted(node.threads, "thread"),
                                      counted(cores, "core")));
    if (crowded.empty()) return "";
    return fmt::format("ranks share cores, which is slow: {}; take fewer ranks or threads",
                       fmt::join(crowded, ", "));
  }

  void expect_answers() override { has_limit_ = true; }

  void broadcast(std::span<std::byte> bytes) override {
    for (; !bytes.empty(); bytes = bytes.subspan(std::min(kMost, bytes.size()))) {
      MPI_Request request;
      MPI_Ibcast(bytes.data(), static_cast<int>(std::min(kMost, bytes.size())), MPI_BYTE, 0,
                 MPI_COMM_WORLD, &request);
      wait(request);
    }
  }

  std::vector<std::string> gather(const std::string& text) override {
    const auto ranks = static_cast<size_t>(size());
    std::vector<int> counts(ranks), begins(ranks);
    const int mine = static_cast<int>(text.size());
    MPI_Request request;
    MPI_Iallgather(&mine, 1, MPI_INT, counts.data(), 1, MPI_INT, MPI_COMM_WORLD, &request);
    wait(request);
    for (size_t r = 1; r < ranks; ++r) begins[r] = begins[r - 1] + counts[r - 1];
    std::string all(static_cast<size_t>(begins.back() + counts.back()), '\0');
    MPI_Iallgatherv(text.data(), mine, MPI_BYTE, all.data(), counts.data(), begins.data(), MPI_BYTE,
                    MPI_COMM_WORLD, &request);
    wait(request);
    std::vector<std::string> texts;
    for (size_t r = 0; r < ranks; ++r)
      texts.push_back(all.substr(static_cast<size_t>(begins[r]), static_cast<size_t>(counts[r])));
    return texts;
  }

  std::unique_ptr<Pending> exchange(std::span<const Transfer> sends,
                                    std::span<const Transfer> receives, int tag) override {
    std::vector<MPI_Request> requests;
    in_pieces(receives, [&](float* values, int count, int rank) {
      MPI_Irecv(values, count, MPI_FLOAT, rank, tag, MPI_COMM_WORLD, &requests.emplace_back());
    });
    in_pieces(sends, [&](const float* values, int count, int rank) {
      MPI_Isend(values, count, MPI_FLOAT, rank, tag, MPI_COMM_WORLD, &requests.emplace_back());
    });
    return std::make_unique<MpiPending>(std::move(requests));
  }

  std::unique_ptr<Pending> add(std::span<float> values) override {
    MPI_Request request;
    MPI_Iallreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()), MPI_FLOAT, MPI_SUM,
                   MPI_COMM_WORLD, &request);
    return std::make_unique<MpiPending>(std::vector{request});
  }

  [[noreturn]] void abort(int code) override {
    MPI_Abort(MPI_COMM_WORLD, code);
    std::_Exit(code);
  }

 private:
  void wait(MPI_Request request) {
    MpiPending pending({request});
    finish(pending);
  }

  void check_limit(std::chrono::duration<double> waited) override {
    if (has_limit_ && waited.count() > limit_) give_up();
  }

  [[noreturn]] void give_up() {
    std::fputs(fmt::format("error: {} has waited {} s for the others: one of them hangs, "
                           "or its node is lost. All ranks end; the run goes on from its last "
                           "checkpoint with --resume, with as many ranks as are left\n",
                           name(), limit_)
                   .c_str(),
               stderr);
    abort(1);
  }

  const double limit_;
  bool has_limit_ = false;
  struct Node {
    cpu_set_t cores{};  // of all its ranks
    int ranks = 0, threads = 0;
  };
  std::vector<std::string> hosts_;  // of the ranks
  std::map<std::string, Node> nodes_;
  int sharing_ = 1, fewest_ = 0, most_ = 0;
};

}  // namespace

std::unique_ptr<Ranks> Ranks::of_launcher() {
  if (const std::optional<Launch> launched = launch()) return MpiRanks::start(*launched);
  if (const std::string tasks = tasks_of_srun(); !tasks.empty() && tasks != "1")
    fail_usage(
        "srun has started {} processes that do not see each other; start them with srun "
        "--mpi=pmix, or, where each is to do its own work, with env -u SLURM_STEP_NUM_TASKS",
        tasks);
  return std::make_unique<AloneRank>();
}

#else

std::unique_ptr<Ranks> Ranks::of_launcher() {
  std::string size = launch().value_or(Launch{}).size;
  if (size.empty()) size = tasks_of_srun();
  if (!size.empty() && size != "1")
    fail_usage(
        "mpirun or srun has started {} processes, but this build has no MPI; install "
        "libopenmpi-dev and build again",
        size);
  return std::make_unique<AloneRank>();
}

#endif

}  // namespace mmrec
