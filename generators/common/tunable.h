#pragma once

#include <Halide.h>

#include <cstddef>
#include <initializer_list>
#include <string>
#include <vector>

#include "generators/registry/instance.h"

namespace mmrec::generators {

/// What a generator says about its Tunables. The tuner finds it with dynamic_cast<const Tunables*> from Halide's AbstractGenerator.
class Tunables {
 public:
  struct Declared : registry::Parameter {
    bool read = false;  ///< by generate() or why_rejected() so far: not every pipeline depends on all that its base classes declare
  };

  virtual ~Tunables() = default;
  const std::vector<Declared>& tunables() const { return declared_; }
  /// Why the parameters, which cannot be set any more then, are not worth trying; "" if they may be. They make a right kernel all the
  /// same.
  virtual std::string why_rejected() { return ""; }

 private:
  friend class Tunable;
  std::vector<Declared> declared_;
};

/// A GeneratorParam of a schedule, and the values that are worth trying on one CPU or another:
///   Tunable rows_per_task{this, "rows_per_task", 16, {4, 8, 16, 32, 64}};
/// Every combination makes a right kernel on every target: a table must not break the build. The name is the member's.
class Tunable {
 public:
  Tunable(Tunables* generator, const std::string& name, int standard, std::initializer_list<int> values)
      : value_(name, standard), generator_(generator), index_(generator->declared_.size()) {
    generator->declared_.push_back({{name, standard, values}});
  }

  operator int() const {
    generator_->declared_[index_].read = true;
    return value_;
  }

 private:
  Halide::GeneratorParam<int> value_;
  Tunables* generator_;
  size_t index_;
};

}  // namespace mmrec::generators
