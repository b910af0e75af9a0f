// One step of the recurrence, forward and backward (runtime/ops/recurrence.h), called once for
// every t. Reason: a step needs the whole previous state, and a Func cannot feed that back into
// itself. The product with [W_g ; mdi.W_g(h half)] and the gates are one tile: for kRecurrenceTile
// units of a few sequences, the sums of both gates stay in registers until the state is written. At
// small B the limit is the streaming of the weights from the L2 cache (128 KiB a step at D = 128),
// then FMA.
#include "generators/common/activations.h"
#include "generators/common/int8.h"
#include "generators/common/kernel_generator.h"
#include "generators/constants/constants.h"

namespace mmrec::generators {

namespace {

/// The register tiles of a step: a few sequences times up to kRecurrenceTile units. Their sums over
/// k stay in registers. The last tile of a batch is filled up by repeating its last sequence. A
/// call chooses the tile height, from 2 to `tallest` sequences, that repeats the fewest; the
/// tallest of equals.
class StepTiles {
 public:
  struct Column {
    Expr begin, unit;  ///< of the tile; in the tile
  };

  /// sums_per_unit: size of the Tuple of sums; each sum loads its own weight. pairs: a sequence's
  /// factors are pairs (common/bf16.h), made for some k at a time, before these are multiplied.
  StepTiles(int tallest, int sums_per_unit, int registers, int lanes, bool pairs)
      : tallest_(tallest),
        per_unit_(sums_per_unit),
        registers_(registers),
        lanes_(lanes),
        pairs_(pairs) {}

  /// Defines and schedules output(d, b) = value(sums of unit d of sequence b). The sums, a Tuple,
  /// start at `zero`. factors(k, b) returns a Tuple; term(column, k, factors, sums) returns the
  /// sums plus the product at k.
  template <class Factors, class Term, class Value>
  void compute(Func output, Var d, Var b, Expr B, const Tuple& zero, RVar k, const Factors& factors,
               const Term& term, const Value& value) const {
    const auto filled = [&](int rows) { return (B + rows - 1) / rows * rows; };
    std::vector<Tile> tiles;
    for (int rows = tallest_; rows >= 2; --rows)
      tiles.push_back(tile(rows, B, zero, k, factors, term));
    const Tile& last = tiles.back();
    Tuple result = value(last.sum(d, b));
    Expr fewest = filled(last.rows);
    std::vector<Expr> takes;  // for every tile but the last: use it, if no taller one is used
    for (size_t i = tiles.size() - 1; i-- > 0;) {
      const Expr taken = filled(tiles[i].rows) <= fewest;
      takes.insert(takes.begin(), taken);
      result = select(taken, value(tiles[i].sum(d, b)), result);
      fewest = min(fewest, filled(tiles[i].rows));
    }
    output(d, b) = result;
    for (size_t i = 0; i < tiles.size(); ++i)
      tiles[i].schedule(output, i < takes.size() ? output.specialize(takes[i]) : Stage(output), d,
                        b, k, lanes_, pairs_);
  }

 private:
  struct Tile {
    int rows, columns;
    Func sums, factors;
    Var unit{"unit"}, sequence{"sequence"}, unit_tile{"unit_tile"}, sequence_tile{"sequence_tile"},
        vector{"vector"}, k{"k"};

    Tuple sum(Expr d, Expr b) const {
      return values(sums, {d % columns, b % rows, d / columns, b / rows});
    }
    Tuple sum_here() const { return values(sums, {unit, sequence, unit_tile, sequence_tile}); }

    static Tuple values(const Func& of, const std::vector<Expr>& at) {
      std::vector<Expr> all;
      for (int i = 0; i < of.outputs(); ++i)
        all.push_back(of.outputs() == 1 ? Expr(of(at)) : Expr(of(at)[i]));
      return Tuple(all);
    }

    void schedule(Func output, Stage stage, Var d, Var b, RVar depth, int lanes, bool pairs) {
      stage.split(b, sequence_tile, b, rows, TailStrategy::GuardWithIf)
          .split(d, unit_tile, d, columns, TailStrategy::GuardWithIf)
          .split(d, vector, d, lanes, TailStrategy::GuardWithIf)
          .reorder(d, vector, b, unit_tile, sequence_tile)
          .vectorize(d)
          // otherwise the gates' loop is innermost, and its constants take registers from the sums
          .unroll(vector);
      // At the edges Halide cannot prove that a tile of the output needs a single tile of the sums.
      sums.bound(unit, 0, columns)
          .bound(sequence, 0, rows)
          .bound_extent(unit_tile, 1)
          .bound_extent(sequence_tile, 1);
      sums.compute_at(output, unit_tile).vectorize(unit, lanes).unroll(unit).unroll(sequence);
      Stage update = sums.update();
      if (pairs) {
        // a vector of them at a time needs no memory of the heap
        RVar block("block"), in_block("in_block");
        update.split(depth, block, in_block, lanes, TailStrategy::GuardWithIf)
            .reorder(unit, sequence, in_block, block);
        factors.bound_storage(k, lanes)
            .compute_at(sums, block)
            .vectorize(k, lanes, TailStrategy::GuardWithIf);
      } else {
        update.reorder(unit, sequence, depth);
      }
      update.vectorize(unit, lanes).unroll(unit).unroll(sequence);
    }
  };

  template <class Factors, class Term>
  Tile tile(int rows, const Expr& B, const Tuple& zero, RVar depth, const Factors& factors,
            const Term& term) const {
    int columns = kRecurrenceTile;  // as many as leave registers for their weights and one state
    while (columns > lanes_ && per_unit_ * (rows + 1) * (columns / lanes_) + 1 > registers_)
      columns /= 2;
    const std::string name = std::to_string(rows);
    Tile t{rows, columns, Func("sums_of_" + name), Func("factors_of_" + name)};
    t.factors(t.k, t.sequence, t.sequence_tile) =
        factors(t.k, min(t.sequence_tile * rows + t.sequence, B - 1));
    t.sums(t.unit, t.sequence, t.unit_tile, t.sequence_tile) = zero;
    t.sums(t.unit, t.sequence, t.unit_tile, t.sequence_tile) =
        term(Column{t.unit_tile * columns, t.unit}, depth,
             Tile::values(t.factors, {depth, t.sequence, t.sequence_tile}), t.sum_here());
    return t;
  }

  int tallest_, per_unit_, registers_, lanes_;
  bool pairs_;
};

}  // namespace

/// Base of a step's passes.
template <class T>
class RecurrenceStep : public ProductGenerator<T> {
 public:
  template <int dimensions>
  using FactorInput = typename ProductGenerator<T>::template FactorInput<dimensions>;

  /// The packed weights of a step: panels of kRecurrencePanel columns, [panel][k][gate][column], of
  /// floats, pairs along k, or int8 after the columns' scales. A tile reads its panels from the
  /// beginning to the end: rows of the whole matrix would be so far apart that they fall into few
  /// sets of the caches and each on a page of its own.
  FactorInput<4> weights{this, "weights"};

 protected:
  void declare_panels() {
    weights.dim(0).set_extent(kRecurrencePanel);
    weights.dim(1).set_extent(2).set_stride(kRecurrencePanel);
    weights.dim(2).set_stride(2 * kRecurrencePanel);
  }

  /// The weight of a gate in a column; an int8 weight without its scale. The column is `unit` of a
  /// tile's first column; units are vectors, which lie in one panel.
  Expr panel_weight(const StepTiles::Column& column, Expr gate, Expr k) const {
    const Expr vector = column.begin + first_of_vector(column.unit),
               in_vector = column.unit % this->native_lanes();
    return this->int8() ? cast<float>(element(vector, in_vector, gate, k + kInt8ScaleRows))
                        : element(vector, in_vector, gate, k);
  }

  /// A sum of products with a gate's weights of unit d: times their scale, if they have one.
  Expr scaled(const Expr& sum, const Expr& gate, const Expr& d) const {
    if (!this->int8()) return sum;
    return sum * int8_scale([&](const Expr& row) {
             return element(first_of_vector(d), d % this->native_lanes(), gate, row);
           });
  }

 private:
  Expr first_of_vector(const Expr& unit) const {
    return unit / this->native_lanes() * this->native_lanes();
  }
  /// An element of a gate's row, in the panel of a vector of units.
  Expr element(const Expr& vector, const Expr& in_vector, const Expr& gate, const Expr& row) const {
    return weights(vector % kRecurrencePanel + in_vector, gate, row, vector / kRecurrencePanel);
  }
};

/// Packs W_g and mdi.W_g(h half), [D][D] output-major: the forward pass's columns are outputs and
/// its k inputs, the backward pass's the other way round. The padding is zero.
class RecurrenceStepPack : public ProductGenerator<RecurrenceStepPack> {
 public:
  Input<Buffer<float, 2>> core_gate{"core_gate"}, mdi_gate{"mdi_gate"};
  FactorOutput<4> forward{this, "forward"}, backward{this, "backward"};

  void generate() {
    start_at_zero(core_gate, mdi_gate, forward, backward);
    Var column("column"), gate("gate"), k("k"), panel("panel");
    const Expr D = core_gate.dim(0).extent(), index = panel * kRecurrencePanel + column;
    const Expr inside = index < D, unit = min(index, D - 1);
    const auto weight = [&](const auto& element) {
      const Expr value = factor(D, k, [&](const Expr& k) { return element(k); });
      return bf16() ? reinterpret<int32_t>(select(inside, value, Expr(uint32_t{0})))
                    : select(inside, value, 0.f);
    };
    forward(column, gate, k, panel) = weight(
        [&](const Expr& k) { return select(gate == 0, core_gate(k, unit), mdi_gate(k, unit)); });
    backward(column, gate, k, panel) = weight(
        [&](const Expr& k) { return select(gate == 0, core_gate(unit, k), mdi_gate(unit, k)); });
    // Transpose square by square through a copy. The cache lines of a column are D or 2D floats
    // apart, so they fall into few sets of the L1 cache and would evict each other before their
    // next element is read.
    const Var square("square"), row("row");
    forward.bound(column, 0, kRecurrencePanel)
        .bound(gate, 0, 2)
        .split(k, square, row, lanes(), TailStrategy::GuardWithIf)
        .reorder(column, gate, row, square, panel)
        .vectorize(column, lanes())
        .unroll(gate)
        .parallel(panel);
    for (Input<Buffer<float, 2>>* weights : {&core_gate, &mdi_gate}) {
      Func copy = Func(*weights).in(forward);
      copy.compute_at(forward, square)
          .vectorize(copy.args()[0], lanes(), TailStrategy::GuardWithIf);
    }
    backward.bound(column, 0, kRecurrencePanel)
        .bound(gate, 0, 2)
        .vectorize(column, lanes())
        .parallel(panel);
  }
};

class RecurrenceStepForward : public RecurrenceStep<RecurrenceStepForward> {
 public:
  // Largest tile height, at least 2. With more than three heights to choose from, Halide computes
  // all of them in each branch, some of them wrongly.
  Tunable tile_sequences{this, "tile_sequences", 4, {2, 3, 4}};

  Input<Buffer<float, 1>> core_bias{"core_bias"};
  Input<Buffer<float, 2>> mdi_input{"mdi_input"}, z{"z"}, gamma{"gamma"}, gm{"gm"},
      previous{"previous"}, own{"own"};  // the columns of `previous` that this step recomputes
  Output<Func> step{"step", {Float(32), Float(32), Float(32)}, 2};  // h, s, g

  void generate() {
    declare_panels();
    start_at_zero(weights, core_bias, mdi_input, z, gamma, gm, previous, own);
    Var d("d"), b("b");
    const Expr D = previous.dim(0).extent();
    const RDom k(0, terms(D));
    Func f = step;
    const auto states = [&](const Expr& k, const Expr& sequence) {
      return Tuple(factor(D, k, [&](const Expr& k) { return previous(k, sequence); }));
    };
    const auto term = [&](const StepTiles::Column& column, RVar k, Tuple state, Tuple sums) {
      return Tuple(plus_product(sums[0], panel_weight(column, 0, k), state[0]),
                   plus_product(sums[1], panel_weight(column, 1, k), state[0]));
    };
    const auto value = [&](Tuple sum) {
      const Expr s = sigmoid(scaled(sum[0], 0, d) + core_bias(d)),
                 g = sigmoid(scaled(sum[1], 1, d) + mdi_input(d, b)), h = own(d, b);
      return Tuple(
          z(d, b) * s + gamma(d, b) * h + kMdiShare * ((1.f - g) * h + g * z(d, b) + gm(d, b) * h),
          s, g);
    };
    StepTiles(tile_sequences, 2, native_registers(), native_lanes(), bf16())
        .compute(f, d, b, previous.dim(1).extent(), Tuple(0.f, 0.f), k, states, term, value);
    start_at_zero(f);
  }
};

class RecurrenceStepBackward : public RecurrenceStep<RecurrenceStepBackward> {
 public:
  // Largest tile height, at least 2. With more than three heights to choose from, Halide computes
  // all of them in each branch, some of them wrongly.
  Tunable tile_sequences{this, "tile_sequences", 4, {2, 3, 4}};

  Input<Buffer<float, 2>> dstate{"dstate"}, dnext{"dnext"};  // from outside and from step t + 1
  Input<Buffer<float, 2>> s{"s"}, g{"g"}, z{"z"}, gamma{"gamma"}, gm{"gm"}, previous{"previous"};
  Output<Func> gates{
      "gates", {Float(32), Float(32), Float(32), Float(32)}, 2};  // dpre_s, dpre_g, dz, dgamma
  Output<Buffer<float, 2>> dprevious{"dprevious"};

  void generate() {
    declare_panels();
    start_at_zero(weights, dstate, dnext, s, g, z, gamma, gm, previous, dprevious);
    Var d("d"), b("b");
    auto dh = [&](Expr i, Expr j) { return dstate(i, j) + dnext(i, j); };
    const Expr ds = dh(d, b) * z(d, b), dg = kMdiShare * dh(d, b) * (z(d, b) - previous(d, b));
    gates(d, b) = Tuple(ds * s(d, b) * (1.f - s(d, b)), dg * g(d, b) * (1.f - g(d, b)),
                        dh(d, b) * (s(d, b) + kMdiShare * g(d, b)), dh(d, b) * previous(d, b));

    Func f = gates, output = dprevious;
    start_at_zero(f);
    f.compute_root().vectorize(d, lanes(), TailStrategy::GuardWithIf);
    const Expr D = previous.dim(0).extent();
    const RDom k(0, terms(D));
    const auto dpre = [&](const Expr& k, const Expr& sequence) {
      const auto gate = [&](int i) {
        return factor(D, k, [&](const Expr& k) { return f(k, sequence)[i]; });
      };
      return Tuple(gate(0), gate(1));
    };
    const auto term = [&](const StepTiles::Column& column, RVar k, Tuple dpre, Tuple sum) {
      const Expr first = plus_product(sum[0], panel_weight(column, 0, k), dpre[0]);
      return Tuple(plus_product(first, panel_weight(column, 1, k), dpre[1]));
    };
    const auto value = [&](Tuple sum) {
      return Tuple(sum[0] + dh(d, b) * (gamma(d, b) + kMdiShare * ((1.f - g(d, b)) + gm(d, b))));
    };
    StepTiles(tile_sequences, 1, native_registers(), native_lanes(), bf16())
        .compute(output, d, b, previous.dim(1).extent(), Tuple(0.f), k, dpre, term, value);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::RecurrenceStepPack, recurrence_step_pack)
HALIDE_REGISTER_GENERATOR(mmrec::generators::RecurrenceStepForward, recurrence_step_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::RecurrenceStepForward, recurrence_reading_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::RecurrenceStepBackward, recurrence_step_backward)
