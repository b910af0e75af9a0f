#pragma once

#include <Halide.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "generators/common/bf16.h"
#include "generators/common/contract.h"
#include "generators/common/riscv.h"
#include "generators/common/tunable.h"

namespace mmrec::generators {

using namespace Halide;

/// Float lanes of the kernels' vectors. Sums along a row have one partial result for each, so their
/// order, and the bits, are the same on every CPU.
inline constexpr int kLanes = 16;

/// Base class of all generators: common parameters and schedules.
template <class T>
class KernelGenerator : public Generator<T>, public Tunables {
 public:
  /// Rows per task of a parallel loop: enough to pay for the hand-over of a task, few enough to
  /// balance the load.
  Tunable rows_per_task{this, "rows_per_task", 16, {4, 8, 16, 32, 64}};
  /// Columns per task of a sum over rows. Their sums stay in registers.
  Tunable columns_per_task{this, "columns_per_task", 64, {16, 32, 64, 128, 256}};

 protected:
  Pipeline build_pipeline() override {
    Pipeline pipeline = Generator<T>::build_pipeline();
    contract(pipeline, this->get_target());
    pipeline.add_custom_lowering_pass(new LowerBf16Dot);
    if (this->get_target().arch == Target::RISCV)
      pipeline.add_custom_lowering_pass(new RiscvRepairs);
    return pipeline;
  }

  /// Float lanes of the target's registers, and how many of these there are.
  int native_lanes() const {
    return this->get_target().arch == Target::RISCV ? kRiscvVectorBits / 32
                                                    : this->template natural_vector_size<float>();
  }
  int native_registers() const {
    const Target target = this->get_target();
    return target.arch == Target::ARM || target.arch == Target::RISCV ||
                   target.has_feature(Target::AVX512_Skylake)
               ? 32
               : 16;
  }
  /// Float lanes of a kernel's vectors: on every CPU those of AVX-512, in several narrower
  /// registers if need be. That is more than a matter of order: of multiply-adds with two vectors
  /// of columns for each row, LLVM does all rows of the one and then all of the other when it makes
  /// vectors of Contract's calls, and AVX2's registers do not hold what that takes.
  int lanes() const { return kLanes; }
  /// Number of such vectors that the registers hold.
  int registers() const { return native_registers() * native_lanes() / kLanes; }

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

/// Base of the generators that multiply matrices. Their parameter `factors` is the type of the
/// products' factors; sums are float, and arrays but for those declared below. With int8 it is the
/// type of the packed weights, and the other factors are float (common/int8.h).
template <class T>
class ProductGenerator : public KernelGenerator<T> {
 public:
  GeneratorParam<Type> factors{"factors", Float(32)};

  /// Called by Halide after the parameters are set.
  void configure() {
    for (const auto& set_type : set_types_) set_type();
  }

  /// An input or output that holds factors for this or another kernel: floats, pairs of bfloat16 in
  /// the bits of int32_t, or int8_t.
  ///   FactorInput<2> embedding{this, "embedding"};
  template <class Base>
  class FactorArray : public Base {
   public:
    FactorArray(ProductGenerator* generator, const std::string& name) : Base(name) {
      generator->set_types_.push_back([=, this] {
        this->set_type(generator->bf16() ? Int(32) : generator->int8() ? Int(8) : Float(32));
      });
    }
  };
  template <int dimensions>
  using FactorInput = FactorArray<GeneratorInput<Buffer<void, dimensions>>>;
  template <int dimensions>
  using FactorOutput = FactorArray<GeneratorOutput<Buffer<void, dimensions>>>;

  /// What the forward pass keeps for the backward pass (runtime/saved_tensor.h): floats, or
  /// bfloat16 with such factors. A product takes an element as a factor as it is.
  template <class Base>
  class SavedArray : public Base {
   public:
    SavedArray(ProductGenerator* generator, const std::string& name) : Base(name) {
      generator->set_types_.push_back([=, this] { this->set_type(generator->saved_type()); });
    }
  };
  template <int dimensions>
  using SavedInput = SavedArray<GeneratorInput<Buffer<void, dimensions>>>;
  template <int dimensions>
  using SavedOutput = SavedArray<GeneratorOutput<Buffer<void, dimensions>>>;

  /// Several such outputs of the same size, which share one loop nest.
  class SavedTuple : public GeneratorOutput<Func> {
   public:
    SavedTuple(ProductGenerator* generator, const std::string& name, int count, int dimensions)
        : GeneratorOutput<Func>(name, dimensions) {
      generator->set_types_.push_back(
          [=, this] { this->types_.assign(count, generator->saved_type()); });
    }
  };

 protected:
  bool bf16() const { return Type(factors) == BFloat(16); }
  bool int8() const { return Type(factors) == Int(8); }

  /// Turn a float into an element of a SavedOutput, and one of a SavedInput into a float.
  Expr to_saved(const Expr& x) const { return bf16() ? to_bf16(x) : x; }
  Expr from_saved(const Expr& x) const { return bf16() ? from_bf16(x) : x; }

  /// A sum's number of terms for `extent` products, and one of the terms' factors: an element, or a
  /// pair of elements. What an odd extent lacks is 0.
  Expr terms(const Expr& extent) const { return bf16() ? (extent + 1) / 2 : extent; }
  template <class Element>
  Expr factor(const Expr& extent, const Expr& index, const Element& element) const {
    return bf16() ? bf16_pair_of(extent, index, element) : element(index);
  }
  /// Returns sum + a b, where a and b are factors, of arrays or not.
  Expr plus_product(const Expr& sum, const Expr& a, const Expr& b) const {
    if (!bf16()) return sum + a * b;
    return bf16_dot(sum, reinterpret<uint32_t>(a), reinterpret<uint32_t>(b), this->get_target());
  }

 private:
  Type saved_type() const { return bf16() ? UInt(16) : Float(32); }

  std::vector<std::function<void()>> set_types_;
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

/// Combines kLanes partial results (lane, row..): the upper half with the lower half, then the
/// quarters of these, and so on.
class LaneTree {
 public:
  using Combine = std::function<Expr(Expr, Expr)>;

  LaneTree(const Func& partial, const std::vector<Var>& row, const Combine& combine) : row_(row) {
    Func whole = partial;
    for (int width = kLanes / 2; width > 0; width /= 2) {
      Func half(partial.name() + std::to_string(width));
      half(at(lane_)) = combine(whole(at(lane_)), whole(at(lane_ + width)));
      half.bound(lane_, 0, width);
      halves_.push_back(half);
      whole = half;
    }
  }

  Expr root() const { return halves_.back()(at(0)); }

  /// Calls schedule(half, lane) for each level.
  template <class Schedule>
  void schedule(const Schedule& schedule) const {
    for (const Func& half : halves_) schedule(half, lane_);
  }

 private:
  std::vector<Expr> at(const Expr& lane) const {
    std::vector<Expr> args{lane};
    args.insert(args.end(), row_.begin(), row_.end());
    return args;
  }

  std::vector<Var> row_;
  Var lane_{"lane"};
  std::vector<Func> halves_;
};

/// The sum (or maximum) of term(c) over the columns c, for each row. Keeps kLanes partial results,
/// combines them, then adds the columns that are left over.
class RowReduction {
 public:
  enum class Kind { kSum, kMax };

  RowReduction(const std::string& name, Kind kind, Expr columns, std::vector<Var> row,
               const std::function<Expr(Expr)>& term)
      : result(name), partial_(name + "_partial") {
    constexpr int lanes = kLanes;
    const Expr start = kind == Kind::kSum ? Expr(0.f) : Float(32).min();
    const auto combine = [=](Expr a, Expr b) { return kind == Kind::kSum ? a + b : max(a, b); };
    std::vector<Var> lane_and_row{lane_};
    lane_and_row.insert(lane_and_row.end(), row.begin(), row.end());
    const RDom chunk(0, columns / lanes, name + "_chunk"), rest(0, columns % lanes, name + "_rest");
    chunk_ = chunk.x;
    partial_(lane_and_row) = start;
    partial_(lane_and_row) = combine(partial_(lane_and_row), term(chunk * lanes + lane_));
    tree_.emplace(partial_, row, combine);
    result(row) = tree_->root();
    result(row) = combine(result(row), term(columns / lanes * lanes + rest));
  }

  /// Computes the reduction inside a loop of its consumer.
  void schedule_at(Func consumer, Var at) {
    result.compute_at(consumer, at);
    result.update().unscheduled();
    tree_->schedule([&](Func half, Var lane) { half.compute_at(consumer, at).vectorize(lane); });
    partial_.bound(lane_, 0, kLanes).compute_at(consumer, at).vectorize(lane_);
    partial_.update().reorder(lane_, chunk_).vectorize(lane_);
  }

  Func result;

 private:
  Func partial_;
  Var lane_{"lane"};
  RVar chunk_;
  std::optional<LaneTree> tree_;
};

}  // namespace mmrec::generators
