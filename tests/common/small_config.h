#pragma once

#include "model/config.h"

namespace mmrec::test {

/// A model that trains and reads in no time.
inline Config small_config(int vocab_size) {
  Config config;
  config.vocab_size = vocab_size;
  config.dim = 32;
  config.layers = 2;
  config.heads = 2;
  config.max_seq = 256;
  config.mem_slots = 64;
  return config;
}

}  // namespace mmrec::test
