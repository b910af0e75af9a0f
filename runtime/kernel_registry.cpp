#include "runtime/kernel_registry.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <sstream>
#include <utility>

#include "generators/registry/instance.h"
#include "runtime/context_parts.h"
#include "runtime/cpu_info.h"
#include "runtime/flush_denormals.h"
#include "runtime/halide_runtime.h"
#include "runtime/kernel_table.h"
#include "runtime/profile.h"
#include "runtime/thread_state.h"
#include "runtime/threads.h"
#include "support/error.h"

namespace mmrec {

#define MMREC_TIER(isa) extern const KernelTable kKernelTable_##isa;
#include "kernel_tiers.inc"
#undef MMREC_TIER

std::span<const KernelTable> kernel_tables() {
#define MMREC_TIER(isa) kKernelTable_##isa,
  static const KernelTable tables[] = {
#include "kernel_tiers.inc"
  };
#undef MMREC_TIER
  return tables;
}

namespace {

/// From the widest vectors to the narrowest: the names that MMREC_MAX_ISA can have.
constexpr const char* kTiers[] = {"avx512_bf16", "avx512", "avx2", "avx",
                                  "sse41",       "sse2",   "neon", "rvv"};

/// Returns MMREC_MAX_ISA of the environment, or "".
std::string_view largest_tier() {
  const char* name = std::getenv("MMREC_MAX_ISA");
  if (!name || !*name) return "";
  if (std::ranges::find(kTiers, std::string_view(name)) == std::end(kTiers))
    fail_usage("MMREC_MAX_ISA={}: there is no such tier; there are {}", name,
               fmt::join(kTiers, ", "));
  return name;
}

/// Returns why MMREC_MAX_ISA excludes the kernels of a tier, or "".
std::string excluded(std::string_view tier) {
  const auto place = [](std::string_view name) { return std::ranges::find(kTiers, name); };
  const std::string_view largest = largest_tier();
  return !largest.empty() && place(tier) < place(largest)
             ? fmt::format("MMREC_MAX_ISA={} excludes them", largest)
             : "";
}

/// Returns why this process cannot use the kernels, or "".
std::string obstacle(const KernelTable& table) {
  if (std::string reason = excluded(table.isa); !reason.empty()) return reason;
  if (const std::vector<std::string> missing = missing_features(table.target); !missing.empty())
    return fmt::format("this machine ({}) does not offer {}", cpu_name(), fmt::join(missing, ", "));
  return "";
}

/// A table as this CPU has it: with levels, and of the rows its own.
struct ChosenTable {
  explicit ChosenTable(const KernelTable& table)
      : table(table),
        rows(rows_for(microarchitecture(), table.rows)),
        kernels(table.kernels.begin(), table.kernels.end()) {
    set_levels(kernels, rows);
  }

  const KernelTable& table;
  std::vector<ScheduleRow> rows;
  std::vector<KernelEntry> kernels;
};

/// The best kernels that this process can use; the most modest ones if it can use none, which
/// check_kernels() reports.
const ChosenTable& chosen() {
  static const ChosenTable chosen([]() -> const KernelTable& {
    const std::span<const KernelTable> tables = kernel_tables();
    const auto usable =
        std::ranges::find_if(tables, [](const KernelTable& one) { return obstacle(one).empty(); });
    return usable == tables.end() ? tables.back() : *usable;
  }());
  return chosen;
}

void check_names(std::string_view op, std::string_view variant) {
  bool op_exists = false;
  std::set<std::string> names;
  for (const KernelEntry& entry : kernels())
    if (entry.op == op) {
      op_exists = true;
      names.insert(entry.variant);
    }
  if (!op_exists)
    fail_usage("there is no operation '{}'; there are: {}", op, fmt::join(operation_names(), ", "));
  if (!variant.empty() && !names.contains(std::string(variant)))
    fail_usage("operation '{}' has no variant '{}'; it has: {}", op, variant,
               fmt::join(names, ", "));
}

/// Parses MMREC_FORCE=op:variant[,op:variant..] of the environment into op -> variant.
const std::map<std::string, std::string, std::less<>>& forced_by_environment() {
  static const auto variants = [] {
    std::map<std::string, std::string, std::less<>> forced;
    const char* force = std::getenv("MMREC_FORCE");
    std::istringstream list(force ? force : "");
    for (std::string item; std::getline(list, item, ',');) {
      const size_t colon = item.find(':');
      if (colon == std::string::npos)
        fail_usage("MMREC_FORCE: expected op:variant[,op:variant..], got '{}'", item);
      check_names(item.substr(0, colon), item.substr(colon + 1));
      forced[item.substr(0, colon)] = item.substr(colon + 1);
    }
    return forced;
  }();
  return variants;
}

/// Returns the forced kernels of the current context.
ForcedKernels& forced_kernels() { return Context::current().parts().forced; }

/// Returns "" if no variant is forced. Call with the lock held.
std::string_view forced_variant(const ForcedKernels& forced, std::string_view op) {
  for (const auto* variants : {&forced.variants, &forced_by_environment()})
    if (const auto found = variants->find(op); found != variants->end()) return found->second;
  return "";
}

/// Call with the lock held.
auto forced_kernel(const ForcedKernels& forced, std::string_view op, std::string_view pass,
                   std::string_view dtype) {
  return std::ranges::find_if(forced.kernels, [&](const KernelEntry* kernel) {
    return kernel->op == op && kernel->pass == pass && kernel->dtype == dtype;
  });
}

/// Starts a new epoch after a change, which invalidates the threads' cached choices.
void change(ForcedKernels& forced) {
  static std::atomic<uint64_t> last{0};
  forced.epoch.store(++last, std::memory_order_release);
}

bool verbose() {
  static const bool on = [] {
    const char* value = std::getenv("MMREC_VERBOSE");
    return value && std::string_view(value) == "dispatch";
  }();
  return on;
}

std::string shapes(void** arguments, std::span<const detail::ArgumentType> types) {
  std::string text;
  for (size_t i = 0; i < types.size(); ++i) {
    if (!types[i].buffer) continue;
    const auto* buffer = static_cast<const detail::Buffer*>(arguments[i]);
    text += " [";
    for (int axis = buffer->dimensions - 1; axis >= 0; --axis)
      text += std::to_string(buffer->axes[axis].extent) + (axis ? "," : "");
    text += "]";
  }
  return text;
}

}  // namespace

const char* kernel_target() { return chosen().table.target; }

bool kernels_have_common_bits() {
  const std::string target = kernels().front().metadata()->target;
  const auto has = [&](const char* feature) { return target.find(feature) != target.npos; };
  return has("-strict_float") && (!target.starts_with("x86") || has("-fma"));
}

std::string kernel_schedule() {
  std::vector<std::string> levels;
  for (const KernelEntry& entry : kernels())
    if (std::ranges::find(levels, entry.level) == levels.end()) levels.push_back(entry.level);
  for (std::string& level : levels)
    level =
        fmt::format("{} by {}", std::ranges::count(kernels(), level, &KernelEntry::level), level);
  return fmt::format("{}", fmt::join(levels, ", "));
}

void check_kernels() {
  if (const std::string problem = obstacle(chosen().table); !problem.empty()) {
    std::vector<std::string> tiers;
    for (const KernelTable& one : kernel_tables())
      tiers.push_back(fmt::format("{} ({})", one.isa, one.target));
    if (!excluded(chosen().table.isa).empty())
      fail_usage(
          "the kernels of this program are for {}: {}. Take it out of the environment, or "
          "permit one of these",
          fmt::join(tiers, " or "), problem);
    fail(
        "the kernels of this program are for {}: {}. Build on this machine, or configure with "
        "MMREC_TARGET={}",
        fmt::join(tiers, " or "), problem, host_target());
  }
  forced_by_environment();
}

std::span<const KernelEntry> kernels() { return chosen().kernels; }

std::vector<std::string> operation_names() {
  std::vector<std::string> names;
  for (const registry::Operation& operation : registry::operations())
    names.push_back(operation.name);
  return names;
}

std::vector<std::string> variant_names(std::string_view op, std::string_view pass,
                                       std::string_view dtype) {
  std::vector<std::string> names;
  for (const KernelEntry& entry : kernels())
    if (entry.op == op && entry.pass == pass && entry.dtype == dtype &&
        std::ranges::find(names, entry.variant) == names.end())
      names.push_back(entry.variant);
  return names;
}

std::string why_no_bf16() {
  const bool built = std::ranges::any_of(kernels(), [](const KernelEntry& entry) {
    return std::string_view(entry.dtype) == registry::kBf16;
  });
  if (built && chosen().table.isa != std::string_view("avx512")) return "";  // in software
  if (std::string reason = excluded("avx512_bf16"); !reason.empty()) return reason;
  if (!offers_avx512_bf16())
    return fmt::format("this machine ({}) does not offer AVX512-BF16 and what comes with it",
                       cpu_name());
  return built ? "" : fmt::format("this program has none for {}", chosen().table.isa);
}

const std::vector<Precision>& precisions() {
  static const std::vector<Precision> all = [] {
    std::vector<Precision> offered{Precision::kFloat32, Precision::kBf16, Precision::kInt8};
    if (!why_no_bf16().empty()) std::erase(offered, Precision::kBf16);
    return offered;
  }();
  return all;
}

Precision precision() { return thread_state.precision; }

ScopedPrecision::ScopedPrecision(Precision precision) : before_(thread_state.precision) {
  if (precision == Precision::kBf16)
    if (const std::string reason = why_no_bf16(); !reason.empty())
      fail("this process has no kernels for products with bfloat16 factors: {}; use float32",
           reason);
  thread_state.precision = precision;
}

ScopedPrecision::~ScopedPrecision() { thread_state.precision = before_; }

void check_saved(const char* what, const SavedTensor& saved, std::initializer_list<int> shape) {
  saved.visit([&](const auto& view) { check_shape(what, view, shape); });
  if (saved.bf16() != (precision() == Precision::kBf16))
    fail("{}: a saved tensor of {} where the thread's precision asks for {}", what,
         saved.bf16() ? "bfloat16" : "floats", saved.bf16() ? "floats" : "bfloat16");
}

const char* dtype_of(Precision precision) {
  switch (precision) {
    case Precision::kBf16:
      return registry::kBf16;
    case Precision::kInt8:
      return registry::kInt8;
    default:
      return registry::kFloat32;
  }
}

Precision precision_of(std::string_view dtype) {
  return dtype == registry::kBf16   ? Precision::kBf16
         : dtype == registry::kInt8 ? Precision::kInt8
                                    : Precision::kFloat32;
}

void force_variant(std::string_view op, std::string_view variant) {
  check_names(op, variant);
  ForcedKernels& forced = forced_kernels();
  std::lock_guard lock(forced.mutex);
  forced.variants[std::string(op)] = variant;
  change(forced);
}

ScopedVariant::ScopedVariant(std::string op, std::string_view variant) : op_(std::move(op)) {
  {
    ForcedKernels& forced = forced_kernels();
    std::lock_guard lock(forced.mutex);
    before_ = forced_variant(forced, op_);
  }
  force_variant(op_, variant);
}

ScopedKernel::ScopedKernel(const KernelEntry& kernel)
    : op_(kernel.op),
      pass_(kernel.pass),
      dtype_(kernel.dtype),
      precision_(precision_of(kernel.dtype)) {
  check_names(op_, "");
  before_ = force(&kernel);
}

ScopedKernel::~ScopedKernel() { force(before_); }

const KernelEntry* ScopedKernel::force(const KernelEntry* kernel) const {
  ForcedKernels& forced = forced_kernels();
  std::lock_guard lock(forced.mutex);
  const KernelEntry* before = nullptr;
  if (const auto found = forced_kernel(forced, op_, pass_, dtype_); found != forced.kernels.end()) {
    before = *found;
    forced.kernels.erase(found);
  }
  if (kernel) forced.kernels.push_back(kernel);
  change(forced);
  return before;
}

Kernel::Kernel(const char* op, const char* pass)
    : op_(op), pass_(pass), id_([] {
        static std::atomic<uint64_t> last{0};
        return ++last;
      }()) {
  const auto choose_among = [&](Precision one) {
    choices_[static_cast<size_t>(one)].emplace(op, pass, dtype_of(one), chosen().kernels,
                                               chosen().rows);
  };
  bool found = false;
  for (const Precision one : precisions())
    if (!variant_names(op, pass, dtype_of(one)).empty()) {
      choose_among(one);
      found = true;
    }
  if (!found) choose_among(Precision::kFloat32);  // which says that there is none
  // A program checks this before it begins, but of a library the first call is here.
  static const bool can_run = (check_kernels(), true);
  (void)can_run;
  install_halide_runtime();
}

const KernelEntry& Kernel::choose(const Sizes& sizes) const {
  ForcedKernels& forced = forced_kernels();
  std::lock_guard lock(forced.mutex);
  const KernelChoice& choice = *choices_[static_cast<size_t>(factors())];
  if (const auto kernel = forced_kernel(forced, op_, pass_, dtype_of(factors()));
      kernel != forced.kernels.end())
    return **kernel;
  // A forced variant that does not implement this pass for this type has no effect.
  const auto variant =
      std::ranges::find(choice.kernels(), forced_variant(forced, op_), &KernelEntry::variant);
  return choice(sizes, variant == choice.kernels().end() ? nullptr : (*variant)->variant);
}

/// choose() behind a thread-local cache: scanning the rows costs 0.1 us, a recurrence step 1 us.
const KernelEntry& Kernel::checked(const Sizes& sizes,
                                   std::span<const detail::ArgumentType> types) const {
  struct Choice {
    uint64_t kernel = 0, epoch = 0;
    Precision precision = Precision::kFloat32;
    Sizes sizes;
    const KernelEntry* entry = nullptr;
  };
  static constexpr size_t kChoices = 64;
  static thread_local std::array<Choice, kChoices> choices;

  size_t hash = id_;
  for (const int size : sizes.data()) hash = hash * 31 + size;
  Choice& choice = choices[(hash ^ hash >> 6 ^ hash >> 12) % kChoices];
  const uint64_t epoch = forced_kernels().epoch.load(std::memory_order_acquire);
  const Precision now = precision();
  if (choice.kernel != id_ || choice.epoch != epoch || choice.precision != now ||
      choice.sizes != sizes) {
    const KernelEntry& entry = choose(sizes);
    check_signature(entry, sizes, types);
    choice = {id_, epoch, now, sizes, &entry};
  }
  return *choice.entry;
}

void Kernel::check_signature(const KernelEntry& entry, const Sizes& sizes,
                             std::span<const detail::ArgumentType> types) const {
  const std::vector<std::string>& names = registry::find_operation(op_)->sizes;
  if (sizes.count() != std::ssize(names))
    fail("{}.{}: the operation passes {} sizes, its registry line names {}: '{}'", op_, pass_,
         sizes.count(), names.size(), fmt::join(names, " "));
  const halide_filter_metadata_t* metadata = entry.metadata();
  if (metadata->num_arguments != static_cast<int32_t>(types.size()))
    fail("{}.{}: variant {} takes {} arguments, the operation passes {}", op_, pass_, entry.variant,
         metadata->num_arguments, types.size());
  for (size_t i = 0; i < types.size(); ++i) {
    const halide_filter_argument_t& argument = metadata->arguments[i];
    const bool buffer = argument.kind != halide_argument_kind_input_scalar;
    if (buffer != types[i].buffer || !(argument.type == types[i].type))
      fail(
          "{}.{}: variant {} takes another kind or type of argument {} ('{}') than the operation "
          "passes",
          op_, pass_, entry.variant, i + 1, argument.name);
  }
}

void Kernel::run(const CallInfo& info, void** arguments,
                 std::span<const detail::ArgumentType> types) {
  const KernelEntry* entry = &checked(info.sizes, types);
  if (verbose()) {
    const std::string line =
        fmt::format("dispatch: {}{} -> {} ({}{}{})",
                    registry::pass_string({op_, pass_, {}, entry->dtype}), shapes(arguments, types),
                    entry->variant, entry->params, *entry->params ? "; " : "", entry->level);
    ForcedKernels& forced = forced_kernels();
    std::lock_guard lock(forced.mutex);
    if (forced.reported.insert(line).second) fmt::print(stderr, "{}\n", line);
  }
  const FlushDenormals flush;
  const ProfiledCall profiled(*entry, info);
  KernelCall call;
  const int code = call.run([&] { return entry->call(arguments); });
  // Check this first: a kernel without assertions ignores the return codes of its parallel loops.
  check_interruption();
  if (call.lacking() != 0)
    fail("{}.{} ({}): {} (arguments:{})", op_, pass_, entry->variant,
         out_of_scratch(call.lacking()), shapes(arguments, types));
  if (code != 0)
    fail("{}.{} ({}) failed with code {}: {} (arguments:{})", op_, pass_, entry->variant, code,
         last_halide_error(), shapes(arguments, types));
}

}  // namespace mmrec
