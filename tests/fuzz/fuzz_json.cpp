#include <nlohmann/json.hpp>

#include "support/strict_json.h"
#include "tests/fuzz/fuzz_target.h"

using namespace mmrec;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  fuzz::accepts([&] {
    const nlohmann::json json = parse_json(text, "input");
    fuzz::require(json == nlohmann::json::parse(text),
                  "what is accepted means what the library takes it for");
    parse_json(json.dump(), "its own output");
  });
  return 0;
}
