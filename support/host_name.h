#pragma once

#include <string>

namespace mmrec {

/// Returns this machine's name.
std::string host_name();

}  // namespace mmrec
