#pragma once

#include <exception>
#include <string>

namespace mmrec {

/// What an exception says to a user. An Error's own words; what libraries throw (std::filesystem, JSON) in words of the project, with the paths
/// and the system's reason where there are any. Another exception is a fault of the program.
std::string in_words(const std::exception& error);

}  // namespace mmrec
