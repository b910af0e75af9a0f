// The kernels of one target. This file is compiled once for each target of the build, with
// MMREC_ISA and MMREC_TARGET, and with the folder of that target's kernels.inc.
#include "runtime/kernel_table.h"

#include "generators/registry/variants.h"

#define MMREC_JOIN_(a, b) a##b
#define MMREC_JOIN(a, b) MMREC_JOIN_(a, b)
#define MMREC_STRING_(text) #text
#define MMREC_STRING(text) MMREC_STRING_(text)
// mmrec_avx512_gemm_packed_nt
#define MMREC_FUNCTION(name) MMREC_JOIN(MMREC_JOIN(mmrec_, MMREC_ISA), _##name)

#define MMREC_SCHEDULE_ROW(kernel, ...)
#define MMREC_INSTANCE(name, op, pass, variant, dtype, params, lowered) \
  extern "C" int MMREC_FUNCTION(name##_argv)(void** arguments);         \
  extern "C" const halide_filter_metadata_t* MMREC_FUNCTION(name##_metadata)();
#include "kernels.inc"
#undef MMREC_INSTANCE

namespace mmrec {

namespace {

constexpr KernelEntry kKernels[] = {
#define MMREC_INSTANCE(name, op, pass, variant, dtype, params, lowered) \
  {#name,                                                               \
   #op,                                                                 \
   #pass,                                                               \
   #variant,                                                            \
   #dtype,                                                              \
   params,                                                              \
   "",                                                                  \
   lowered,                                                             \
   &registry::kVariants[registry::index::op##_##variant##_##dtype],     \
   MMREC_FUNCTION(name##_argv),                                         \
   MMREC_FUNCTION(name##_metadata)},
#include "kernels.inc"
#undef MMREC_SCHEDULE_ROW
#undef MMREC_INSTANCE
};

/// Kernels with bfloat16 factors are not built for every tier.
constexpr bool is_compiled(std::string_view op, std::string_view variant, std::string_view dtype) {
  return dtype == registry::kBf16 || std::ranges::any_of(kKernels, [&](const KernelEntry& entry) {
           return entry.op == op && entry.variant == variant && entry.dtype == dtype;
         });
}
#define MMREC_OP(op, passes, ...)
#define MMREC_KERNEL(op, variant, generator, params, element, traits, condition)               \
  static_assert(is_compiled(#op, #variant, #element),                                          \
                "no file generators/" #op "/*_generator.cpp registers a generator " #generator \
                "_<pass>");
#include "generators/kernels.def"
#undef MMREC_OP
#undef MMREC_KERNEL

constexpr ScheduleRow kScheduleRows[] = {
#define MMREC_INSTANCE(name, op, pass, variant, dtype, params, lowered)
#define MMREC_SCHEDULE_ROW(kernel, microarchitecture, level, ...) \
  {#kernel, {__VA_ARGS__}, microarchitecture, level},
#include "kernels.inc"
    {"", {}}};  // ends the list: an array must not be empty

}  // namespace

extern const KernelTable MMREC_JOIN(kKernelTable_, MMREC_ISA);
constinit const KernelTable MMREC_JOIN(kKernelTable_, MMREC_ISA) = {
    MMREC_STRING(MMREC_ISA), MMREC_TARGET, kKernels, kScheduleRows};

}  // namespace mmrec
