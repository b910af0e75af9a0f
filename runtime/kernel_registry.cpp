#include "runtime/kernel_registry.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <sstream>

#include "runtime/cpu_info.h"
#include "runtime/error.h"
#include "runtime/profile.h"
#include "runtime/threads.h"

#define MMREC_KERNEL(op, pass, variant, sizes, when)                       \
  extern "C" int mmrec_##op##_##variant##_##pass##_argv(void** arguments); \
  extern "C" const halide_filter_metadata_t* mmrec_##op##_##variant##_##pass##_metadata();
#include "kernels.inc"
#undef MMREC_KERNEL

namespace mmrec {

namespace {

#include "kernel_conditions.inc"

constexpr KernelEntry kKernels[] = {
#define MMREC_KERNEL(op, pass, variant, sizes, when) \
  {#op, #pass, #variant, sizes, when, mmrec_##op##_##variant##_##pass##_argv, mmrec_##op##_##variant##_##pass##_metadata},
#include "kernels.inc"
#undef MMREC_KERNEL
};

void check_names(std::string_view op, std::string_view variant) {
  bool op_exists = false;
  std::set<std::string> names;
  for (const KernelEntry& entry : kKernels)
    if (entry.op == op) {
      op_exists = true;
      names.insert(entry.variant);
    }
  if (!op_exists) fail_usage("there is no operation '{}'; there are: {}", op, fmt::join(operations(), ", "));
  if (!variant.empty() && !names.contains(std::string(variant)))
    fail_usage("operation '{}' has no variant '{}'; it has: {}", op, variant, fmt::join(names, ", "));
}

/// The Kernel objects that exist, and what is forced on them, at first by the environment's
/// MMREC_FORCE=op:variant[,op:variant..].
struct Dispatch {
  Dispatch() {
    const char* force = std::getenv("MMREC_FORCE");
    std::istringstream list(force ? force : "");
    for (std::string item; std::getline(list, item, ',');) {
      const size_t colon = item.find(':');
      if (colon == std::string::npos) fail_usage("MMREC_FORCE: expected op:variant[,op:variant..], got '{}'", item);
      check_names(item.substr(0, colon), item.substr(colon + 1));
      forced[item.substr(0, colon)] = item.substr(colon + 1);
    }
  }

  std::mutex mutex;
  std::vector<Kernel*> kernels;
  std::map<std::string, std::string, std::less<>> forced;  // op -> variant
  std::set<std::string> reported;                          // lines of MMREC_VERBOSE=dispatch that have been printed
};

Dispatch& dispatch() {
  static Dispatch instance;
  return instance;
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
    const auto* buffer = static_cast<const halide_buffer_t*>(arguments[i]);
    text += " [";
    for (int axis = buffer->dimensions - 1; axis >= 0; --axis) text += std::to_string(buffer->dim[axis].extent) + (axis ? "," : "");
    text += "]";
  }
  return text;
}

}  // namespace

const char* kernel_target() { return MMREC_TARGET; }

const char* kernel_schedule() { return *MMREC_SCHEDULE ? MMREC_SCHEDULE : "generator defaults"; }

void check_kernels() {
  if (const std::vector<std::string> missing = missing_features(kernel_target()); !missing.empty())
    fail("the kernels were compiled for {}, and this machine ({}) does not offer {}. Build on this machine, or configure with MMREC_TARGET={}",
         kernel_target(), cpu_name(), fmt::join(missing, ", "), host_target());
  dispatch();
}

std::span<const KernelEntry> kernels() { return kKernels; }

std::vector<std::string> operations() {
  std::vector<std::string> names;
  for (const KernelEntry& entry : kKernels)
    if (std::find(names.begin(), names.end(), entry.op) == names.end()) names.push_back(entry.op);
  return names;
}

std::vector<std::string> variants(std::string_view op, std::string_view pass) {
  std::vector<std::string> names;
  for (const KernelEntry& entry : kKernels)
    if (entry.op == op && entry.pass == pass) names.push_back(entry.variant);
  return names;
}

void force_variant(std::string_view op, std::string_view variant) {
  check_names(op, variant);
  Dispatch& d = dispatch();
  std::lock_guard lock(d.mutex);
  d.forced[std::string(op)] = variant;
  for (Kernel* kernel : d.kernels)
    if (kernel->op() == op) kernel->force(variant);
}

Kernel::Kernel(const char* op, const char* pass) : op_(op), pass_(pass) {
  install_halide_runtime();
  Dispatch& d = dispatch();
  std::lock_guard lock(d.mutex);
  for (const KernelEntry& entry : kKernels) {
    if (std::string_view(entry.op) != op_ || std::string_view(entry.pass) != pass_) continue;
    if (!default_) default_ = &entry;
    if (entry.serves) conditional_.push_back(&entry);
  }
  if (!default_) fail("no kernel implements {}.{}: its line is missing in generators/CMakeLists.txt", op_, pass_);
  if (const auto forced = d.forced.find(op_); forced != d.forced.end()) force(forced->second);
  d.kernels.push_back(this);
}

/// Does nothing where the variant does not implement this pass, other than to undo what was forced before.
void Kernel::force(std::string_view variant) {
  const KernelEntry* forced = nullptr;
  for (const KernelEntry& entry : kKernels)
    if (entry.op == std::string_view(op_) && entry.pass == std::string_view(pass_) && entry.variant == variant) forced = &entry;
  forced_ = forced;
}

const KernelEntry& Kernel::choose(const Sizes& sizes) const {
  if (const KernelEntry* forced = forced_.load(std::memory_order_relaxed)) return *forced;
  for (const KernelEntry* entry : conditional_)
    if (entry->serves(sizes.data())) return *entry;
  return *default_;
}

void Kernel::check_signature(const KernelEntry& entry, const Sizes& sizes, std::span<const detail::ArgumentType> types) const {
  const std::string_view names = entry.size_names;
  const auto named = names.empty() ? 0 : 1 + std::count(names.begin(), names.end(), ' ');
  if (sizes.count() != named) fail("{}.{}: the operation passes {} sizes, its registry line names {}: '{}'", op_, pass_, sizes.count(), named, names);
  const halide_filter_metadata_t* metadata = entry.metadata();
  if (metadata->num_arguments != static_cast<int32_t>(types.size()))
    fail("{}.{}: variant {} takes {} arguments, the operation passes {}", op_, pass_, entry.variant, metadata->num_arguments, types.size());
  for (size_t i = 0; i < types.size(); ++i) {
    const halide_filter_argument_t& argument = metadata->arguments[i];
    const bool buffer = argument.kind != halide_argument_kind_input_scalar;
    if (buffer != types[i].buffer || !(argument.type == types[i].type))
      fail("{}.{}: variant {} takes another kind or type of argument {} ('{}') than the operation passes", op_, pass_, entry.variant, i + 1,
           argument.name);
  }
}

void Kernel::run(const Work& work, void** arguments, std::span<const detail::ArgumentType> types) {
  const KernelEntry* entry = &choose(work.sizes);
  if (checked_.load(std::memory_order_relaxed) != entry) {
    check_signature(*entry, work.sizes, types);
    checked_.store(entry, std::memory_order_relaxed);
  }
  if (verbose()) {
    const std::string line = fmt::format("dispatch: {}.{}{} -> {}", op_, pass_, shapes(arguments, types), entry->variant);
    Dispatch& d = dispatch();
    std::lock_guard lock(d.mutex);
    if (d.reported.insert(line).second) fmt::print(stderr, "{}\n", line);
  }
  const bool timed = profiling();
  const auto begin = timed ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point();
  if (const int code = entry->call(arguments))
    fail("{}.{} ({}) failed with code {}: {} (arguments:{})", op_, pass_, entry->variant, code, last_halide_error(), shapes(arguments, types));
  if (timed) record_call(op_, pass_, entry->variant, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), work.flops);
}

}  // namespace mmrec
