#pragma once

#include <cmath>
#include <numbers>

#include "runtime/kernel_registry.h"

namespace mmrec::reference {

/// A double with a bound on the error that single precision makes on the way to it. The bound is
/// first-order, in units of float's epsilon; every operation adds the size of what it rounds. The
/// references compute with Real: the tolerance of each result element follows from the magnitude of
/// its terms, so cancellation, long sums and chains of layers need no special tolerances. A sum
/// adds the size of both operands rather than of the result: kernels add in other orders and may
/// have larger partial sums than the reference.
struct Real {
  constexpr Real(double value = 0, double error = 0) : value(value), error(error) {}
  double value, error;
};

/// Allowed error of single-precision exp and log (relative) and of erf (absolute: float code uses a
/// rational approximation with an absolute bound).
inline constexpr double kFunctionError = 4, kErfError = 8;

inline Real operator-(Real a) { return {-a.value, a.error}; }
inline Real operator+(Real a, Real b) {
  return {a.value + b.value, a.error + b.error + std::abs(a.value) + std::abs(b.value)};
}
inline Real operator-(Real a, Real b) { return a + -b; }
inline Real operator*(Real a, Real b) {
  const double value = a.value * b.value;
  return {value, std::abs(a.value) * b.error + std::abs(b.value) * a.error + std::abs(value)};
}
inline Real operator/(Real a, Real b) {
  const double value = a.value / b.value;
  return {value, (a.error + std::abs(value) * b.error) / std::abs(b.value) + std::abs(value)};
}
inline Real& operator+=(Real& a, Real b) { return a = a + b; }
inline Real& operator*=(Real& a, Real b) { return a = a * b; }
inline bool operator<(Real a, Real b) { return a.value < b.value; }

inline Real sqrt(Real x) {
  const double value = std::sqrt(x.value);
  return {value, value > 0 ? x.error / (2 * value) + value : 0};
}
inline Real exp(Real x) {
  const double value = std::exp(x.value);
  return {value, value * (x.error + kFunctionError)};
}
inline Real log(Real x) {
  const double value = std::log(x.value);
  return {value, x.error / x.value + kFunctionError * std::abs(value)};
}
inline Real erf(Real x) {
  const double slope = 2 * std::numbers::inv_sqrtpi * std::exp(-x.value * x.value);
  return {std::erf(x.value), slope * x.error + kErfError};
}

/// The error of rounding to bfloat16, half a unit of its 8 bits at the most, in the units of Real's
/// bound. (No order or formula changes it, so it needs none of the tolerance that float's error
/// has; see kUnits in tests/common/kernel_test.h.)
inline constexpr double kBf16Error = 0x1p-8 / (2 * 0x1p-23);

/// max(x, low). Where x is smaller by no more than its error, the result may be larger by it.
inline Real at_least(Real x, Real low) {
  constexpr double kUnit = 2 * 0x1p-23;
  if (!(x < low)) return x;
  return {low.value, low.value - x.value < kUnit * x.error ? low.error + x.error : low.error};
}

/// A factor of a product, as the thread's precision rounds it.
inline Real factor(Real x) {
  return precision() == Precision::kBf16 ? Real(x.value, x.error + kBf16Error * std::abs(x.value))
                                         : x;
}

/// What an operation keeps for its backward pass, as the thread's precision rounds it.
inline Real saved(Real x) { return factor(x); }

inline Real sigmoid(Real x) { return 1 / (1 + exp(-x)); }
/// The standard normal distribution function and density.
inline Real normal_cdf(Real x) { return 0.5 * (1 + erf(x / std::numbers::sqrt2)); }
inline Real normal_pdf(Real x) { return exp(-0.5 * x * x) / std::sqrt(2 * std::numbers::pi); }
inline Real gelu(Real x) { return x * normal_cdf(x); }
inline Real gelu_slope(Real x) { return normal_cdf(x) + x * normal_pdf(x); }

}  // namespace mmrec::reference
