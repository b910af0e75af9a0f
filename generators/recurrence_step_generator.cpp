// One step of the recurrence, forward and backward (runtime/ops/recurrence.h), called once for every t: a step needs the whole
// state before it, which a Func cannot feed back into itself. The product with [W_g ; mdi.W_g(h half)] and the gates are one
// tile: for kRecurrenceTile units of a few sequences, both gates' sums stay in registers until the state is written.
// The limit at small B is the streaming of the weights from the second-level cache (128 KiB a step at D = 128), then FMA.
#include "generators/common/activations.h"
#include "generators/common/kernel_generator.h"

namespace mmrec::generators {

namespace {

constexpr float kMdiShare = 0.1f;  // ops::kMdiShare
constexpr int kTileColumns = 64;   // ops::kRecurrenceTile, the padding of the weights

/// A tile of units times a few sequences whose sums are kept in registers; see StepTile::schedule.
class StepTile {
 public:
  StepTile(int rows, int columns, int lanes) : rows_(rows), columns_(columns), lanes_(lanes) {}

  /// The sums over k of a Tuple (or a single value) over (unit in tile, sequence in tile, tile of units, tile of sequences).
  void schedule(Func output, Var unit, Var sequence, Func sums, const std::vector<Var>& sum_vars, RVar k) const {
    Var unit_tile("unit_tile"), sequence_tile("sequence_tile");
    output.compute_root()
        .split(sequence, sequence_tile, sequence, rows_, TailStrategy::GuardWithIf)
        .split(unit, unit_tile, unit, columns_, TailStrategy::GuardWithIf)
        .reorder(unit, sequence, unit_tile, sequence_tile)
        .vectorize(unit, lanes_, TailStrategy::GuardWithIf);
    // Halide cannot prove at the edges that a tile of the output needs a single tile of the sums.
    sums.bound(sum_vars[0], 0, columns_).bound(sum_vars[1], 0, rows_).bound_extent(sum_vars[2], 1).bound_extent(sum_vars[3], 1);
    sums.compute_at(output, unit_tile).vectorize(sum_vars[0], lanes_).unroll(sum_vars[0]).unroll(sum_vars[1]);
    sums.update().reorder(sum_vars[0], sum_vars[1], k).vectorize(sum_vars[0], lanes_).unroll(sum_vars[0]).unroll(sum_vars[1]);
  }

 private:
  int rows_, columns_, lanes_;
};

}  // namespace

/// W_g and mdi.W_g(h half) [D][D], output-major -> input-major [D][2][P] and output-major [2][D][P], zero in the padding.
class RecurrenceStepPack : public KernelGenerator<RecurrenceStepPack> {
 public:
  Input<Buffer<float, 2>> core_gate{"core_gate"}, mdi_gate{"mdi_gate"};
  Output<Buffer<float, 3>> forward{"forward"}, backward{"backward"};

  void generate() {
    start_at_zero(core_gate, mdi_gate, forward, backward);
    Var column("column"), gate("gate"), row("row");
    const Expr D = core_gate.dim(0).extent();
    const Expr inside = column < D, unit = min(column, D - 1);
    forward(column, gate, row) = select(inside, select(gate == 0, core_gate(row, unit), mdi_gate(row, unit)), 0.f);
    backward(column, row, gate) = select(inside, select(gate == 0, core_gate(unit, row), mdi_gate(unit, row)), 0.f);
    forward.bound(gate, 0, 2)
        .unroll(gate)
        .vectorize(column, lanes(), TailStrategy::GuardWithIf)
        .parallel(row, rows_per_task, TailStrategy::GuardWithIf);
    backward.bound(gate, 0, 2).vectorize(column, lanes(), TailStrategy::GuardWithIf).parallel(row, rows_per_task, TailStrategy::GuardWithIf);
  }
};

class RecurrenceStepForward : public KernelGenerator<RecurrenceStepForward> {
 public:
  GeneratorParam<int> tile_sequences{"tile_sequences", 2};

  Input<Buffer<float, 3>> weights{"weights"};
  Input<Buffer<float, 1>> core_bias{"core_bias"};
  Input<Buffer<float, 2>> mdi_input{"mdi_input"}, z{"z"}, gamma{"gamma"}, gm{"gm"}, previous{"previous"};
  Output<Func> step{"step", {Float(32), Float(32), Float(32)}, 2};  // h, s, g

  void generate() {
    start_at_zero(weights, core_bias, mdi_input, z, gamma, gm, previous);
    Var d("d"), b("b"), unit("unit"), sequence("sequence"), unit_tile("unit_tile"), sequence_tile("sequence_tile");
    const int columns = kTileColumns, rows = tile_sequences;
    const Expr B = previous.dim(1).extent();
    const RDom k(0, previous.dim(0).extent());
    Func sums("sums");
    const Expr state = previous(k, min(sequence_tile * rows + sequence, B - 1)), column = unit_tile * columns + unit;
    sums(unit, sequence, unit_tile, sequence_tile) = Tuple(0.f, 0.f);
    sums(unit, sequence, unit_tile, sequence_tile) = Tuple(sums(unit, sequence, unit_tile, sequence_tile)[0] + weights(column, 0, k) * state,
                                                           sums(unit, sequence, unit_tile, sequence_tile)[1] + weights(column, 1, k) * state);

    const Tuple sum = sums(d % columns, b % rows, d / columns, b / rows);
    const Expr s = sigmoid(sum[0] + core_bias(d)), g = sigmoid(sum[1] + mdi_input(d, b)), h = previous(d, b);
    step(d, b) = Tuple(z(d, b) * s + gamma(d, b) * h + kMdiShare * ((1.f - g) * h + g * z(d, b) + gm(d, b) * h), s, g);

    Func f = step;
    start_at_zero(f);
    StepTile(rows, columns, lanes()).schedule(f, d, b, sums, {unit, sequence, unit_tile, sequence_tile}, k);
  }
};

class RecurrenceStepBackward : public KernelGenerator<RecurrenceStepBackward> {
 public:
  GeneratorParam<int> tile_sequences{"tile_sequences", 2};

  Input<Buffer<float, 3>> weights{"weights"};
  Input<Buffer<float, 2>> dstate{"dstate"}, dnext{"dnext"};  // from outside and from step t + 1
  Input<Buffer<float, 2>> s{"s"}, g{"g"}, z{"z"}, gamma{"gamma"}, gm{"gm"}, previous{"previous"};
  Output<Func> gates{"gates", {Float(32), Float(32), Float(32), Float(32)}, 2};  // dpre_s, dpre_g, dz, dgamma
  Output<Buffer<float, 2>> dprevious{"dprevious"};

  void generate() {
    start_at_zero(weights, dstate, dnext, s, g, z, gamma, gm, previous, dprevious);
    Var d("d"), b("b"), unit("unit"), sequence("sequence"), unit_tile("unit_tile"), sequence_tile("sequence_tile");
    auto dh = [&](Expr i, Expr j) { return dstate(i, j) + dnext(i, j); };
    const Expr ds = dh(d, b) * z(d, b), dg = kMdiShare * dh(d, b) * (z(d, b) - previous(d, b));
    gates(d, b) =
        Tuple(ds * s(d, b) * (1.f - s(d, b)), dg * g(d, b) * (1.f - g(d, b)), dh(d, b) * (s(d, b) + kMdiShare * g(d, b)), dh(d, b) * previous(d, b));

    const int columns = kTileColumns, rows = tile_sequences;
    const Expr B = previous.dim(1).extent();
    const RDom k(0, previous.dim(0).extent());
    Func sums("sums");
    const Expr row = min(sequence_tile * rows + sequence, B - 1), column = unit_tile * columns + unit;
    Func f = gates;
    const Tuple dpre = f(k, row);
    sums(unit, sequence, unit_tile, sequence_tile) = 0.f;
    sums(unit, sequence, unit_tile, sequence_tile) += weights(column, k, 0) * dpre[0] + weights(column, k, 1) * dpre[1];
    dprevious(d, b) = sums(d % columns, b % rows, d / columns, b / rows) + dh(d, b) * (gamma(d, b) + kMdiShare * ((1.f - g(d, b)) + gm(d, b)));

    start_at_zero(f);
    f.compute_root().vectorize(d, lanes(), TailStrategy::GuardWithIf);
    StepTile(rows, columns, lanes()).schedule(dprevious, d, b, sums, {unit, sequence, unit_tile, sequence_tile}, k);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::RecurrenceStepPack, recurrence_step_pack)
HALIDE_REGISTER_GENERATOR(mmrec::generators::RecurrenceStepForward, recurrence_step_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::RecurrenceStepBackward, recurrence_step_backward)
