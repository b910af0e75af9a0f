#include "runtime/threads.h"

#include <fmt/ranges.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "runtime/cgroup_limits.h"
#include "runtime/context_parts.h"
#include "runtime/executor.h"
#include "runtime/openmp_executor.h"
#include "runtime/thread_pool.h"
#include "runtime/thread_state.h"
#include "support/error.h"
#include "support/parse_number.h"

namespace mmrec {

namespace {

constexpr int kMaximumThreads = 1024;

/// In the order of executor_names().
struct NamedForm {
  const char* name;
  ExecutorForm form;
};
constexpr NamedForm kForms[] = {{"pool", ExecutorForm::kPool},
#if defined(MMREC_OPENMP)
                                {"openmp", ExecutorForm::kOpenMp}
#endif
};

/// The current context's state.
ThreadsOfContext& of_context() { return Context::current().parts().threads; }

ExecutorForm form_of(std::string_view name) {
  const auto found = std::ranges::find(kForms, name, &NamedForm::name);
  if (found == std::end(kForms))
    fail_usage("there is no executor '{}'; there are: {}", name, fmt::join(executor_names(), ", "));
  return found->form;
}

std::unique_ptr<Executor> make_executor(ExecutorForm form, int threads) {
  auto pool = std::make_unique<ThreadPool>(threads - 1);
  // OpenMP's runtime would end the process if the system started fewer threads.
  const bool starts_all = pool->threads() == threads;
  if (form == ExecutorForm::kPool || !starts_all || lost_openmp_threads()) return pool;
  return make_openmp_executor(threads);
}

}  // namespace

ExecutorForm executor_of_environment() {
  const char* const name = std::getenv("MMREC_EXECUTOR");
  if (!name || !*name) return kForms[0].form;
  try {
    return form_of(name);
  } catch (const UsageError& error) {
    fail_usage("MMREC_EXECUTOR: {}", error.what());
  }
}

std::vector<std::string> executor_names() {
  std::vector<std::string> names;
  for (const NamedForm& form : kForms) names.push_back(form.name);
  return names;
}

std::string executor_name() {
  ThreadsOfContext& context = of_context();
  std::lock_guard lock(context.mutex);
  return std::ranges::find(kForms, context.form, &NamedForm::form)->name;
}

void set_executor(std::string_view name) {
  const ExecutorForm form = form_of(name);
  ThreadsOfContext& context = of_context();
  std::lock_guard lock(context.mutex);
  if (form != std::exchange(context.form, form)) context.made_for = 0;
}

int available_threads() {
  cpu_set_t cores;
  int count = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
  if (const std::optional<cpu_set_t> places = openmp_places()) count = CPU_COUNT(&*places);
  const std::optional<double> quota = cgroup_limits().cpus;
  return quota ? std::clamp(static_cast<int>(std::ceil(std::min(*quota, 1e6))), 1, count) : count;
}

int default_threads() {
  const char* const text = std::getenv("OMP_NUM_THREADS");  // a list: the first is of our level
  const std::string_view list = text ? text : "";
  const auto threads = parse_number<int>(list.substr(0, list.find(',')));
  return threads && *threads > 0 ? std::min(*threads, kMaximumThreads) : available_threads();
}

void set_num_threads(int threads) {
  if (threads < 1 || threads > kMaximumThreads)
    fail_usage("the number of threads must be 1 to {}, not {}", kMaximumThreads, threads);
  of_context().threads = threads;
}

int num_threads() {
  ThreadsOfContext& context = of_context();
  if (const int set = context.threads.load(std::memory_order_relaxed)) return set;
  const int threads = default_threads();
  context.threads = threads;
  return threads;
}

Executor& current_executor() {
  ThreadsOfContext& context = of_context();
  if (context.made_for.load(std::memory_order_acquire) != num_threads()) {
    std::lock_guard lock(context.mutex);
    if (const int wanted = num_threads();
        context.made_for.load(std::memory_order_relaxed) != wanted) {
      context.made_for = 0;
      context.executor.reset();  // its threads count towards the system's limit
      context.executor = make_executor(context.form, wanted);
      const int started = context.executor->threads();
      context.threads = started;
      context.made_for.store(started, std::memory_order_release);
      if (started < wanted && context.tell_of_missing_threads)
        context.tell_of_missing_threads(started, wanted);
    }
  }
  return *context.executor;
}

int start_threads() {
  current_executor();
  return num_threads();
}

void run_with_threads(const std::function<void()>& body) {
  current_executor().run_with_threads(body);
}

void on_missing_threads(std::function<void(int started, int wanted)> tell) {
  of_context().tell_of_missing_threads = std::move(tell);
}

void parallel_for(int count, void (*call)(void* body, int i), void* body) {
  struct Loop {
    void (*call)(void* body, int i);
    void* body;
    std::exception_ptr first;
    std::mutex mutex;
  } loop{call, body, {}, {}};
  const int result = current_executor().run(
      count,
      [](void* closure, int i) {
        auto& loop = *static_cast<Loop*>(closure);
        try {
          loop.call(loop.body, i);
        } catch (...) {
          std::lock_guard lock(loop.mutex);
          if (!loop.first) loop.first = std::current_exception();
        }
        return 0;
      },
      &loop);
  if (loop.first) std::rethrow_exception(loop.first);
  if (result == Executor::kInterrupted) throw Interrupted();
}

Interruptible::Interruptible(const std::atomic<int>& asked)
    : before_(std::exchange(thread_state.stop_asked, &asked)) {}
Interruptible::~Interruptible() { thread_state.stop_asked = before_; }

void check_interruption() {
  if (interruption_asked()) throw Interrupted();
}

}  // namespace mmrec
