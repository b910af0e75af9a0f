#include <nlohmann/json.hpp>

#include "tests/fuzz/fuzz_target.h"
#include "train/report/report_html.h"
#include "train/report/report_text.h"

using namespace mmrec;

/// metrics.jsonl, and everything that report derives from it.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::MemoryFile input;
  input.write(fuzz::text_of(data, size));
  fuzz::accepts([&] {
    for (const MetricsRow& row : read_metrics(input.path()))
      fuzz::require(row.step >= 0 && row.epoch >= 0 && row.tokens >= 0 &&
                        (row.split == "train" || row.split == "val"),
                    "a row makes sense");
    const std::vector<RunReport> runs = {read_run(input.path())};
    report_text(runs, 80);
    report_html(runs);
    to_json(runs).dump();
  });
  return 0;
}
