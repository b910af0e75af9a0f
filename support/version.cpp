#include "support/version.h"

const char* mmrec_version() { return MMREC_VERSION; }
