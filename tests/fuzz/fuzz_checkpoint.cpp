#include <fstream>
#include <nlohmann/json.hpp>

#include "support/checksum.h"
#include "tests/common/temporary_directory.h"
#include "tests/fuzz/fuzz_target.h"
#include "train/run/checkpoint.h"
#include "train/run/options_json.h"

using namespace mmrec;
using nlohmann::json;

namespace {

std::string checksum(std::string_view content) { return fmt::format("{:08x}", crc32_of(content)); }

/// A checkpoint's folder without state.json, and the entries that describe its files.
class Folder {
 public:
  Folder() {
    put("config.json", R"({"vocab_size": 16})");
    put("tokenizer.json", R"({"type": "char", "tokens": ["<UNK>", "<PAD>", "a"]})");
    put("model.safetensors", "");
    put("optimizer.safetensors", "");
  }
  const std::filesystem::path& path() const { return directory_.path(); }
  const json& files() const { return files_; }
  void write_state(const std::string& content) const {
    std::ofstream(directory_ / "state.json", std::ios::binary) << content;
  }

 private:
  void put(const std::string& name, const std::string& content) {
    std::ofstream(directory_ / name) << content;
    files_[name] = {{"bytes", content.size()}, {"crc32", checksum(content)}};
  }

  test::TemporaryDirectory directory_;
  json files_;
};

void read(const Folder& folder, const std::string& text) {
  folder.write_state(text);
  fuzz::accepts([&] {
    const RunState state = Checkpoint(folder.path()).state;
    const json written = json::parse(text);
    fuzz::require(written["step"] == state.step && written["tokens"] == state.tokens &&
                      written["seed"] == state.seed,
                  "numbers are what is written");
    fuzz::require(state.step >= 0 && state.tokens >= 0,
                  "a run's place is at or after its beginning");
    fuzz::require(checkpoint_step(folder.path()) == state.step, "both readers find the same step");
    if (!state.progress) return;
    const json options = to_json(state.progress->options),
               written_options = written["course"]["options"];
    for (const auto& [name, value] : options.items())
      fuzz::require(!value.is_number_integer() || written_options.value(name, value) == value,
                    "numbers of the options are what is written");
    check_options(state.progress->options);
  });
}

}  // namespace

/// state.json of a checkpoint: as given, and with corrected checksums. Wrong checksums would reject
/// nearly every input.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Folder folder;
  const std::string text(fuzz::text_of(data, size));
  read(folder, text);
  json state = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!state.is_object()) return 0;
  state["files"] = folder.files();
  state.erase("crc32");
  state["crc32"] = checksum(state.dump());
  read(folder, state.dump());
  return 0;
}
