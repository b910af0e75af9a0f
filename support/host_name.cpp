#include "support/host_name.h"

#include <unistd.h>

namespace mmrec {

std::string host_name() {
  char name[256] = "";  // the last byte stays zero
  ::gethostname(name, sizeof name - 1);
  return name;
}

}  // namespace mmrec
