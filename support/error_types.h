#pragma once

#include <stdexcept>

namespace mmrec {

/// An error message for the user: what failed, where, and what to do. Programs print it and exit
/// with 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The user or caller asked for something impossible (an unknown option or field, a batch of 0).
/// Programs exit with 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

}  // namespace mmrec
