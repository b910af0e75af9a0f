#pragma once

#include <Halide.h>

#include <functional>
#include <string>
#include <vector>

#include "generators/common/tunable.h"
#include "support/error.h"

namespace mmrec::generators {

using namespace Halide;

/// The arrays of a generator whose element type is its parameter `element`.
class ElementArrays {
 private:
  template <class Base>
  friend class ElementArray;
  template <class T>
  friend class KernelGenerator;
  std::vector<std::function<void(Type)>> set_types_;
};

/// An input or output whose element type is the generator's parameter `element`. A kernel for
/// another type needs only another line in the registry, and calls with that type
/// (runtime/kernel_registry.h).
///   ElementInput<2> a{this, "a"};
/// The generator computes in float: it reads cast<float>(a(k, m)).
template <class Base>
class ElementArray : public Base {
 public:
  ElementArray(ElementArrays* generator, const std::string& name) : Base(name) {
    generator->set_types_.push_back([this](Type type) { this->set_type(type); });
  }
};
template <int dimensions>
using ElementInput = ElementArray<GeneratorInput<Buffer<void, dimensions>>>;

/// Base class of all generators: common parameters and schedules.
template <class T>
class KernelGenerator : public Generator<T>, public Tunables, public ElementArrays {
 public:
  GeneratorParam<Type> element{"element", Float(32)};
  /// Called by Halide after the parameters are set.
  void configure() {
    const Type type = element;
    if (type != Float(32) && set_types_.empty())
      fail("none of this generator's arrays has the type `element`: it computes on float only");
    for (const auto& set_type : set_types_) set_type(type);
  }

  /// Rows per task of a parallel loop: enough to pay for the hand-over of a task, few enough to
  /// balance the load.
  Tunable rows_per_task{this, "rows_per_task", 16, {4, 8, 16, 32, 64}};
  /// Columns per task of a sum over rows. Their sums stay in registers.
  Tunable columns_per_task{this, "columns_per_task", 64, {16, 32, 64, 128, 256}};

 protected:
  /// Float lanes of the target's vectors.
  int lanes() const { return this->template natural_vector_size<float>(); }
  /// Number of vector registers.
  int registers() const {
    const Target target = this->get_target();
    return target.arch == Target::ARM || target.has_feature(Target::AVX512_Skylake) ? 32 : 16;
  }

  /// Schedules f with rows in parallel and columns in vectors.
  void schedule_rows(Func f, Var column, Var row) const {
    Var task("task");
    f.compute_root()
        .split(row, task, row, int(rows_per_task), TailStrategy::GuardWithIf)
        .parallel(task)
        .vectorize(column, lanes(), TailStrategy::GuardWithIf);
  }

  /// sum(column) += sum of x(column, row) over all rows. The output keeps its previous value as a
  /// summand.
  template <class Sum>
  void add_column_sum(Sum& sum, Func x, Var column, RVar row) const {
    sum(column) = undef<float>();
    sum(column) += x(column, row);
    schedule_column_sum(sum, column, row);
  }

  /// Schedules f(column) = sum over the rows r. Adds in the order of the rows, for any number of
  /// threads.
  void schedule_column_sum(Func f, Var column, RVar r) const {
    Var task("task"), vector("vector");
    f.compute_root().vectorize(column, lanes(), TailStrategy::GuardWithIf);
    f.update()
        .split(column, task, column, int(columns_per_task), TailStrategy::GuardWithIf)
        .split(column, vector, column, lanes(), TailStrategy::GuardWithIf)
        .reorder(column, vector, r, task)
        .vectorize(column)
        .unroll(vector)
        .parallel(task);
  }
};

/// Fixes the minimum of all dimensions to 0. The kernels then carry fewer scalars.
template <class... Buffers>
  requires(!std::is_same_v<Buffers, Func> && ...)
void start_at_zero(Buffers&... buffers) {
  auto one = [](auto& buffer) {
    for (int i = 0; i < buffer.dimensions(); ++i) buffer.dim(i).set_min(0);
  };
  (one(buffers), ...);
}

/// For a Tuple, whose outputs share one loop nest: fixes the minima of the first output. All
/// outputs have its size.
inline void start_at_zero(Func tuple_output) {
  OutputImageParam first = tuple_output.output_buffers()[0];
  for (int i = 0; i < first.dimensions(); ++i) first.dim(i).set_min(0);
}

/// The sum (or maximum) of term(c) over the columns c, for each row. Keeps one partial result per
/// vector lane, combines the lanes, then adds the columns that fill no whole vector. The order
/// depends only on the number of lanes.
class RowReduction {
 public:
  enum class Kind { kSum, kMax };

  RowReduction(const std::string& name, Kind kind, Expr columns, std::vector<Var> row,
               const std::function<Expr(Expr)>& term, int lanes)
      : result(name), partial_(name + "_partial"), lane_("lane") {
    const Expr start = kind == Kind::kSum ? Expr(0.f) : Float(32).min();
    auto combine = [&](Expr a, Expr b) { return kind == Kind::kSum ? a + b : max(a, b); };
    auto with_row = [&](const Expr& first) {
      std::vector<Expr> args{first};
      args.insert(args.end(), row.begin(), row.end());
      return args;
    };
    const RDom chunk(0, columns / lanes, name + "_chunk"), lane(0, lanes, name + "_lane"),
        rest(0, columns % lanes, name + "_rest");
    chunk_ = chunk.x;
    lane_sum_ = lane.x;
    partial_(with_row(lane_)) = start;
    partial_(with_row(lane_)) = combine(partial_(with_row(lane_)), term(chunk * lanes + lane_));
    result(row) = start;
    result(row) = combine(result(row), partial_(with_row(lane)));
    result(row) = combine(result(row), term(columns / lanes * lanes + rest));
  }

  /// Computes the reduction inside a loop of its consumer.
  void schedule_at(Func consumer, Var at) {
    result.compute_at(consumer, at);
    partial_.compute_at(consumer, at).vectorize(lane_);
    partial_.update().reorder(lane_, chunk_).vectorize(lane_);
    result.update(0).atomic().vectorize(lane_sum_);
    result.update(1).unscheduled();
  }

  Func result;

 private:
  Func partial_;
  Var lane_;
  RVar chunk_, lane_sum_;
};

}  // namespace mmrec::generators
