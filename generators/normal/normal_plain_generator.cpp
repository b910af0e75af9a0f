// Normal numbers from Philox4x32-10 by Box-Muller (runtime/ops/normal.h). They have the bits of
// Philox::normals: integers, and doubles with the operations of support/same_bits_math.h, which
// Contract leaves alone.
#include <array>
#include <bit>
#include <numbers>
#include <utility>

#include "generators/common/kernel_generator.h"
#include "support/same_bits_math.h"

namespace mmrec::generators {

namespace {

namespace constants = same_bits::detail;

Expr number(double value) { return Expr(value); }
Expr word(uint64_t value) { return Internal::make_const(UInt(64), value); }
Expr bits_of(const Expr& number) { return reinterpret<uint64_t>(number); }
Expr number_of(const Expr& bits) { return reinterpret<double>(bits); }

/// first + x * (next + x * ..)
template <class... More>
Expr polynomial(const Expr& x, double first, More... more) {
  if constexpr (sizeof...(more) == 0)
    return number(first);
  else
    return number(first) + x * polynomial(x, more...);
}

Expr log_of(const Expr& x) {
  constexpr auto kRootOfHalf = std::bit_cast<uint64_t>(0x1.6a09ep-1),
                 kWhole = std::bit_cast<uint64_t>(constants::kWhole);
  const Expr above = bits_of(x) - word(kRootOfHalf);
  const Expr m = number_of(word(kRootOfHalf) + (above & word((1ull << 52) - 1)));
  const Expr e = number_of(word(kWhole) + ((above >> word(52)) ^ word(0x800)) - word(0x800)) -
                 number(constants::kWhole);
  const Expr s = (m - number(1)) / (m + number(1)), z = s * s;
  const Expr tail = s * z *
                    polynomial(z, 2. / 3, 2. / 5, 2. / 7, 2. / 9, 2. / 11, 2. / 13, 2. / 15,
                               2. / 17, 2. / 19, 2. / 21);
  return e * number(constants::kLn2) + (number(2) * s + (tail + e * number(constants::kLn2Rest)));
}

struct SineAndCosine {
  Expr sine, cosine;
};

SineAndCosine sine_and_cosine(const Expr& x) {
  constexpr auto& c = constants::kInverseFactorial;
  const Expr shifted = x * number(0x1.45f306dc9c883p-1) + number(constants::kWhole);
  const Expr k = shifted - number(constants::kWhole);
  const Expr r = (x - k * number(constants::kHalfPi)) - k * number(constants::kHalfPiRest);
  const Expr square = r * r;
  const Expr sine =
      r + r * square * polynomial(square, -c[3], c[5], -c[7], c[9], -c[11], c[13], -c[15], c[17]);
  const Expr cosine =
      number(1) -
      (number(0.5) * square -
       square * square * polynomial(square, c[4], -c[6], c[8], -c[10], c[12], -c[14], c[16]));
  const Expr quadrant = bits_of(shifted);
  const Expr exchange = (bits_of(sine) ^ bits_of(cosine)) & (word(0) - (quadrant & word(1)));
  const auto with_sign = [](const Expr& bits, const Expr& quadrant) {
    return number_of(bits ^ (quadrant & word(2)) << word(62));
  };
  return {with_sign(bits_of(sine) ^ exchange, quadrant),
          with_sign(bits_of(cosine) ^ exchange, quadrant + word(1))};
}

/// Two normal numbers of two words.
std::pair<Expr, Expr> normals_of(const Expr& first, const Expr& second) {
  const Expr u = (cast<float>(first >> 8) + 0.5f) * 0x1p-24f;
  const Expr radius = sqrt(-2.f * cast<float>(log_of(cast<double>(u))));
  const Expr angle = 2.f * std::numbers::pi_v<float> * 0x1p-32f * cast<float>(second);
  const SineAndCosine direction = sine_and_cosine(cast<double>(angle));
  return {radius * cast<float>(direction.cosine), radius * cast<float>(direction.sine)};
}

}  // namespace

class NormalPlainFill : public KernelGenerator<NormalPlainFill> {
 public:
  Input<uint32_t> seed_low{"seed_low"}, seed_high{"seed_high"}, stream_low{"stream_low"},
      stream_high{"stream_high"}, counter_low{"counter_low"}, counter_high{"counter_high"};
  Input<float> deviation{"deviation"};
  Output<Buffer<float, 1>> values{"values"};

  void generate() {
    start_at_zero(values);
    Var i("i"), n("n"), j("j"), task("task"), vector("vector");
    Func normals("normals"), blocks("blocks");
    const std::array<Expr, 4> words = block(n);
    const auto [first, second] = normals_of(words[0], words[1]);
    const auto [third, fourth] = normals_of(words[2], words[3]);
    normals(n) = Tuple(first, second, third, fourth);
    const Tuple four = normals(n);
    blocks(i, n) = mux(i, {four[0], four[1], four[2], four[3]});
    values(j) = deviation * blocks(j % 4, j / 4);

    values.split(j, vector, j, 4 * lanes(), TailStrategy::GuardWithIf)
        .vectorize(j, lanes(), TailStrategy::GuardWithIf)
        .split(vector, task, vector, 64, TailStrategy::GuardWithIf)
        .parallel(task);
    // Whole vectors of blocks, whose words then are stored side by side.
    blocks.compute_at(values, vector)
        .bound(i, 0, 4)
        .bound_extent(n, lanes())
        .reorder(i, n)
        .unroll(i)
        .vectorize(n, lanes());
    normals.compute_at(values, vector).bound_extent(n, lanes()).vectorize(n, lanes());
  }

 private:
  /// The words of the stream's block counter + n. In numbers of 64 bits: for a product of 32 by 32
  /// bits, as for (x + 1) >> 1, Halide 21 takes instructions of RISC-V that leave out lanes.
  std::array<Expr, 4> block(const Var& n) const {
    const auto low_of = [](const Expr& x) { return x & word(UINT32_MAX); };
    const auto high_of = [](const Expr& x) { return x >> word(32); };
    const auto joined = [](const Expr& low, const Expr& high) {
      return cast<uint64_t>(low) | cast<uint64_t>(high) << word(32);
    };
    const Expr counter = joined(counter_low, counter_high) + cast<uint64_t>(n);
    std::array<Expr, 4> c = {low_of(counter), high_of(counter), cast<uint64_t>(stream_low),
                             cast<uint64_t>(stream_high)};
    Expr k0 = seed_low, k1 = seed_high;
    for (int round = 0; round < 10; ++round) {
      const Expr p0 = word(0xD2511F53u) * c[0], p1 = word(0xCD9E8D57u) * c[2];
      c = {high_of(p1) ^ c[1] ^ cast<uint64_t>(k0), low_of(p1),
           high_of(p0) ^ c[3] ^ cast<uint64_t>(k1), low_of(p0)};
      k0 += Expr(0x9E3779B9u);
      k1 += Expr(0xBB67AE85u);
    }
    for (Expr& word : c) word = cast<uint32_t>(word);
    return c;
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::NormalPlainFill, normal_plain_fill)
