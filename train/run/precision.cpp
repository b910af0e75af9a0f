#include "train/run/precision.h"

#include "runtime/kernel_registry.h"
#include "support/error.h"

namespace mmrec {

namespace {

/// Returns why this process cannot compute in the precision, or "".
std::string obstacle(std::string_view precision) {
  return parse_precision(precision) == Precision::kBf16 ? why_no_bf16() : "";
}

}  // namespace

Precision parse_precision(std::string_view name) {
  if (name == "float32") return Precision::kFloat32;
  if (name == "bf16") return Precision::kBf16;
  if (name == "int8") return Precision::kInt8;
  fail_usage("--precision {} makes no sense; it must be float32, bf16 or int8", name);
}

Precision parse_training_precision(std::string_view name) {
  if (name == "float32" || name == "bf16") return parse_precision(name);
  fail_usage("--precision {} makes no sense; it must be float32 or bf16{}", name,
             name == "int8" ? ": a step of training changes weights by less than int8 can tell "
                              "apart. generate and evaluate round a trained model to int8"
                            : "");
}

Precision usable_precision(std::string_view name) {
  const Precision precision = parse_precision(name);
  if (const std::string reason = obstacle(name); !reason.empty())
    fail("this process has no kernels for precision {}: {}; use float32 or int8", name, reason);
  return precision;
}

std::string fall_back(std::string& precision) {
  const std::string reason = obstacle(precision);
  if (reason.empty()) return "";
  const std::string line =
      fmt::format("--precision {}: computing in float32, as this process has no kernels for it: {}",
                  precision, reason);
  precision = "float32";
  return line;
}

void check_same_bits(std::string_view precision, std::string_view whose) {
  if (const std::string reason = obstacle(precision); !reason.empty())
    fail_usage(
        "{} computes in {}, and this process has no kernels for it: {}. In float32 there would be "
        "other bits: use a machine that has these kernels, or give --precision float32",
        whose, precision, reason);
}

}  // namespace mmrec
