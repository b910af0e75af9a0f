#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

/// Elementary functions with the same bits on every CPU. Those of the C library take fused
/// multiply-adds where the CPU has them, and differ from one architecture to the next. These are
/// IEEE additions, multiplications and divisions of doubles, in a fixed order, and err by a few
/// units in the last place of a double. Everything that the weights of a training depend on calls
/// these. Compilers make vectors of loops over them.
namespace mmrec::same_bits {

namespace detail {

/// first + x * (next + x * ..)
template <class... More>
constexpr double polynomial(double x, double first, More... more) {
  if constexpr (sizeof...(more) == 0)
    return first;
  else
    return first + x * polynomial(x, more...);
}

/// 1 / n!, by n.
inline constexpr std::array<double, 18> kInverseFactorial = [] {
  std::array<double, 18> inverse;
  double factorial = 1;  // exact
  for (size_t n = 0; n < inverse.size(); ++n) {
    if (n > 0) factorial *= static_cast<double>(n);
    inverse[n] = 1 / factorial;
  }
  return inverse;
}();

/// A double whose last bit is worth 1: what is added to it is rounded to a whole number, which then
/// is in its low bits.
inline constexpr double kWhole = 0x1.8p52;

// ln 2 and pi / 2, each in two parts: the first times a small whole number is exact.
inline constexpr double kLn2 = 0x1.62e42fee00000p-1, kLn2Rest = 0x1.a39ef35793c76p-33;
inline constexpr double kHalfPi = 0x1.921fb54400000p0, kHalfPiRest = 0x1.0b4611a626331p-34;

/// The sine and cosine of an angle between -pi / 4 and pi / 4, by Taylor's series.
constexpr double near_sine(double x) {
  constexpr auto& c = kInverseFactorial;
  const double tail = polynomial(x * x, -c[3], c[5], -c[7], c[9], -c[11], c[13], -c[15], c[17]);
  return x + x * (x * x) * tail;
}
constexpr double near_cosine(double x) {
  constexpr auto& c = kInverseFactorial;
  const double tail = polynomial(x * x, c[4], -c[6], c[8], -c[10], c[12], -c[14], c[16]);
  return 1 - (0.5 * (x * x) - (x * x) * (x * x) * tail);
}

// e to the power of these is a normal number.
inline constexpr double kLowest = -708, kHighest = 709.75;

/// e to the power of x or the limit that x is beyond, by Taylor's series with the terms 1, x and
/// x^(n + 2) / (n + 2)!.
template <size_t... n>
double exp(double x, std::index_sequence<n...>) {
  const double limited = x < kLowest ? kLowest : x > kHighest ? kHighest : x;
  const double shifted = limited * 0x1.71547652b82fep0 + kWhole;  // 1 / ln 2
  const double k = shifted - kWhole;
  const double r = (limited - k * kLn2) - k * kLn2Rest;
  const double tail = polynomial(r, kInverseFactorial[n + 2]...);
  const double power = 1 + (r + r * r * tail);
  // times 2^k
  const uint64_t exponent = std::bit_cast<uint64_t>(shifted) << 52;
  return std::bit_cast<double>(std::bit_cast<uint64_t>(power) + exponent);
}

}  // namespace detail

/// The natural logarithm of a positive, normal x.
inline double log(double x) {
  // x = 2^e m, where m is between the roots of 1/2 and 2
  constexpr uint64_t kRootOfHalf = std::bit_cast<uint64_t>(0x1.6a09ep-1),
                     kMantissa = (1ull << 52) - 1;
  const uint64_t bits = std::bit_cast<uint64_t>(x), above = bits - kRootOfHalf;
  const double m = std::bit_cast<double>(kRootOfHalf + (above & kMantissa));
  // e, which is the sign extension of a number of 12 bits
  const double e = std::bit_cast<double>(std::bit_cast<uint64_t>(detail::kWhole) +
                                         ((above >> 52) ^ 0x800) - 0x800) -
                   detail::kWhole;
  // log m = 2 artanh s
  const double s = (m - 1) / (m + 1), z = s * s;
  const double tail = s * z *
                      detail::polynomial(z, 2. / 3, 2. / 5, 2. / 7, 2. / 9, 2. / 11, 2. / 13,
                                         2. / 15, 2. / 17, 2. / 19, 2. / 21);
  return e * detail::kLn2 + (2 * s + (tail + e * detail::kLn2Rest));
}

/// e to the power of x; 0 or infinite where that would be no normal number.
inline double exp(double x) {
  if (x < detail::kLowest) return 0;
  if (x > detail::kHighest) return std::numeric_limits<double>::infinity();
  return detail::exp(x, std::make_index_sequence<12>());
}
/// With a float's precision, and faster.
inline float exp(float x) {
  return static_cast<float>(detail::exp(x, std::make_index_sequence<7>()));
}

struct SineAndCosine {
  double sine, cosine;
};

/// Of an angle of at most a million.
inline SineAndCosine sine_and_cosine(double x) {
  const double shifted = x * 0x1.45f306dc9c883p-1 + detail::kWhole;  // 2 / pi
  const double k = shifted - detail::kWhole;
  const double r = (x - k * detail::kHalfPi) - k * detail::kHalfPiRest;
  const double sine = detail::near_sine(r), cosine = detail::near_cosine(r);
  const uint64_t quadrant = std::bit_cast<uint64_t>(shifted);
  const uint64_t sine_bits = std::bit_cast<uint64_t>(sine),
                 cosine_bits = std::bit_cast<uint64_t>(cosine);
  // In odd quadrants the two change places. The sign is the sine's in quadrants 2 and 3, the
  // cosine's in 1 and 2.
  const uint64_t exchange = (sine_bits ^ cosine_bits) & (0 - (quadrant & 1));
  return {std::bit_cast<double>(sine_bits ^ exchange ^ (quadrant >> 1) << 63),
          std::bit_cast<double>(cosine_bits ^ exchange ^ ((quadrant + 1) >> 1) << 63)};
}

/// base to the power of a whole number that is not negative.
constexpr double power(double base, int64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent /= 2, base *= base)
    if (exponent % 2 != 0) result *= base;
  return result;
}

/// A positive, normal base to the power of any exponent.
inline double power(double base, double exponent) { return exp(exponent * log(base)); }

}  // namespace mmrec::same_bits
