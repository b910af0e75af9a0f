#pragma once

#include <Halide.h>

#include <cstddef>
#include <initializer_list>
#include <string>
#include <vector>

#include "generators/registry/instance.h"

namespace mmrec::generators {

/// A generator's Tunables. The tuner finds them with dynamic_cast<const Tunables*> from Halide's
/// AbstractGenerator.
class Tunables {
 public:
  struct Declared : registry::TunableParameter {
    /// Read by generate() or why_rejected() so far. A pipeline may not use all parameters of its
    /// base classes.
    bool read = false;
  };

  virtual ~Tunables() = default;
  const std::vector<Declared>& tunables() const { return declared_; }
  /// Returns why the current parameter values are not worth trying, or "". They still make a
  /// correct kernel. Parameters cannot be set after this call.
  virtual std::string why_rejected() { return ""; }

 private:
  friend class Tunable;
  std::vector<Declared> declared_;
};

/// A GeneratorParam of a schedule, with the values worth trying on some CPU:
///   Tunable rows_per_task{this, "rows_per_task", 16, {4, 8, 16, 32, 64}};
/// Every combination must make a correct kernel on every target: a table must not break the build.
/// The name must be the member's.
class Tunable {
 public:
  Tunable(Tunables* generator, const std::string& name, int standard,
          std::initializer_list<int> values)
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
