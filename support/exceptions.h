#pragma once

#include <exception>
#include <string>

namespace mmrec {

/// Returns an exception's message for the user. An Error has its own; exceptions of libraries
/// (std::filesystem, JSON) are translated, with their paths and the system's reason. Any other
/// exception is reported as a fault of the program.
std::string in_words(const std::exception& error);

}  // namespace mmrec
