#include <nlohmann/json.hpp>

#include "model/config_file.h"
#include "tests/fuzz/fuzz_target.h"

using namespace mmrec;

/// A configuration file, and the argument of --set.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::MemoryFile input;
  const std::string_view text = fuzz::text_of(data, size);
  input.write(text);
  fuzz::accepts([&] {
    const Config config = load_config(input.path());
    fuzz::require(config_from_json(to_json(config), Config{}, "its own output") == config,
                  "a configuration survives being written and read");
  });
  fuzz::accepts([&] {
    Config config;
    set_field(config, text);
    check_config(config);
  });
  return 0;
}
