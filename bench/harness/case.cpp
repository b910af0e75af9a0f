#include "bench/harness/case.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <utility>

#include "runtime/rng.h"
#include "runtime/threads.h"

namespace mmrec::bench {

namespace {

/// Initial value of outputs and guards: a NaN that no computation produces.
const float kNothing = std::bit_cast<float>(0x7fc0deadu);

/// Returns the size of a workload's arrays, in bytes.
size_t measure(const Workload& work, uint64_t seed, int guard) {
  Operands operands(seed, Arena(), guard);
  work.prepare(operands);
  return operands.bytes();
}

}  // namespace

uint16_t to_bf16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

template <class T>
TensorView<T> Operands::take(std::initializer_list<int> shape) {
  const auto guard = [&] {
    const Tensor zone = arena_.tensor({guard_});
    if (!zone.data()) return;
    if (!begin_) begin_ = reinterpret_cast<std::byte*>(zone.data());
    std::fill_n(zone.data(), guard_, kNothing);
  };
  guard();
  const TensorView<T> tensor = arena_.take<T>(shape);
  guard();
  return tensor;
}

Tensor Operands::output(std::initializer_list<int> shape) {
  const Tensor tensor = take<float>(shape);
  arrays_.emplace_back(tensor);
  if (tensor.data()) std::fill_n(tensor.data(), tensor.count(), kNothing);
  return tensor;
}

SavedTensor Operands::saved(std::initializer_list<int> shape) {
  if (precision() != Precision::kBf16) return output(shape);
  const Bf16Tensor tensor = take<uint16_t>(shape);
  if (tensor.data())
    std::fill_n(tensor.data(), tensor.count(),
                static_cast<uint16_t>(std::bit_cast<uint32_t>(kNothing) >> 16));
  return arrays_.emplace_back(tensor);
}

template <class T, class Convert>
TensorView<T> Operands::uniform(std::initializer_list<int> shape, float low, float high,
                                const Convert& convert) {
  const TensorView<T> tensor = take<T>(shape);
  arrays_.emplace_back(tensor);
  if (!tensor.data()) return tensor;
  // The generator of the dropout masks: fast, and good enough. The largest arrays have millions of
  // elements.
  const DropoutKey key{static_cast<uint32_t>(seed_), ++next_};
  for (int64_t i = 0; i < tensor.count(); ++i)
    tensor.data()[i] = convert(
        low + (high - low) * (static_cast<float>(dropout_bits(key, static_cast<uint32_t>(i)) >> 8) *
                              0x1p-24f));
  return tensor;
}

Tensor Operands::uniform(std::initializer_list<int> shape, float low, float high) {
  return uniform<float>(shape, low, high, std::identity());
}

Bf16Tensor Operands::uniform_bf16(std::initializer_list<int> shape) {
  return uniform<uint16_t>(shape, -1, 1, to_bf16);
}

IntTensor Operands::ids(int count, int end) {
  const IntTensor tensor = take<int32_t>({count});
  if (!tensor.data()) return tensor;
  const Philox random(seed_, rng_stream(Stream::kSampling, ++next_));
  for (int i = 0; i < count; ++i) tensor.data()[i] = static_cast<int32_t>(random.below(i, end));
  return tensor;
}

std::string Case::name() const {
  return fmt::format("{}/{}{}/{}/{}", work->op, work->pass.prefix, variant_name(), work->pass.label,
                     fmt::join(work->sizes, "x"));
}

std::string Case::variant_name() const {
  return work->precision == Precision::kFloat32
             ? variant
             : fmt::format("{}_{}", variant, dtype_of(work->precision));
}

std::string Case::group(Precision precision) const {
  const bool of_floats = precision == Precision::kFloat32 && !work->op_of_floats.empty();
  return fmt::format(
      "{}/{}/{}/{}{}", of_floats ? work->op_of_floats : work->op, work->pass.prefix,
      work->pass.label, fmt::join(work->sizes, "x"),
      precision == Precision::kFloat32 ? "" : fmt::format("/{}", dtype_of(precision)));
}

std::unique_ptr<ScopedVariant> Case::force() const {
  return registered ? std::make_unique<ScopedVariant>(work->op, variant) : nullptr;
}

Prepared::Prepared(const Workload& work, uint64_t seed, Caches caches, int guard)
    : rest_(work.rest), precision_(work.precision) {
  const ScopedPrecision scoped(precision_);
  constexpr size_t kAllCopies = 64 << 20, kMostCopies = 64;
  const size_t bytes = measure(work, seed, guard),
               copies = caches == Caches::kWarm
                            ? 1
                            : std::clamp<size_t>(kAllCopies / std::max<size_t>(bytes, 1) + 1, 2,
                                                 kMostCopies);
  for (size_t i = 0; i < copies; ++i) {
    Copy& copy = copies_.emplace_back(std::make_unique<Operands>(seed, Arena(bytes), guard));
    copy.invocation = work.prepare(*copy.operands);
    if (copy.invocation.before) copy.invocation.before();
  }
}

void Prepared::run_with_threads(const std::function<void()>& body) const {
  const Invocation& first = copies_.front().invocation;
  if (first.around) return first.around(body);
  rest_ ? body() : mmrec::run_with_threads(body);
}

void Prepared::warm_up(double seconds) const {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  run_with_threads([&] {
    do (*this)();
    while (std::chrono::steady_clock::now() < end);
  });
}

void Cases::add(Workload workload) {
  for (const Precision precision : precisions()) {
    workload.precision = precision;
    const auto work = std::make_shared<const Workload>(workload);
    for (const std::string& variant :
         variant_names(work->op, work->pass.registry, dtype_of(precision)))
      cases_.push_back({work, variant, true});
  }
}

void Cases::add(Workload workload, std::string variant) {
  cases_.push_back(
      {std::make_shared<const Workload>(std::move(workload)), std::move(variant), false});
}

void Cases::add_limit(Workload workload, std::string variant) {
  cases_.push_back(
      {std::make_shared<const Workload>(std::move(workload)), std::move(variant), false, true});
}

}  // namespace mmrec::bench
