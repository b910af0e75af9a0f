#include "train/infer/text_state.h"

#include <optional>
#include <utility>

#include "model/safetensors.h"
#include "support/atomic_file.h"
#include "support/error.h"
#include "support/names.h"
#include "support/parse_number.h"

namespace mmrec {

namespace {

SafetensorsFile opened(std::string content, const std::string& shown) {
  try {
    return {std::move(content), shown};
  } catch (const Error& error) {
    fail("{} is no saved state of a text, choose another one: {}", shown, error.what());
  }
}

const std::string& field(const SafetensorsFile& content, const std::string& shown,
                         const char* name) {
  const auto found = content.metadata().find(name);
  if (found == content.metadata().end())
    fail("{} is no text's state: it has no field '{}'", shown, name);
  return found->second;
}

template <class Number>
Number number_field(const SafetensorsFile& content, const std::string& shown, const char* name) {
  const std::string& text = field(content, shown, name);
  const std::optional<Number> number = parse_number<Number>(text);
  if (!number || *number < 0) fail("{}: the field '{}' is '{}' and no count", shown, name, text);
  return *number;
}

IntTensor ids_of(const std::vector<int32_t>& ids) {
  return {const_cast<int32_t*>(ids.data()), {static_cast<int>(ids.size())}};
}

std::vector<int32_t> read_ids(const SafetensorsFile& content, const std::string& shown,
                              const char* name) {
  const TensorEntry& entry = content.find(name);
  if (entry.shape.size() != 1) fail("{} is no text's state: '{}' is no list", shown, name);
  std::vector<int32_t> ids(entry.bytes / sizeof(int32_t));
  content.read(name, ids_of(ids));
  return ids;
}

}  // namespace

std::string text_state_content(const TextState& state, const std::string& weights) {
  const Tensor values(const_cast<float*>(state.values.data()), {state.layers, state.width});
  return safetensors_content({{"state", to_store(values)},
                              {"recent", to_store(ids_of(state.recent))},
                              {"unread", to_store(ids_of(state.unread))}},
                             {{"weights", weights},
                              {"tokens", std::to_string(state.tokens)},
                              {"draws", std::to_string(state.draws)},
                              {"unshown", text_of_name(state.unshown)}});
}

void save_text_state(const PathAt& file, const TextState& state, const std::string& weights) {
  write_file_atomically(file, text_state_content(state, weights));
}

TextState parse_text_state(std::string content, const std::string& shown,
                           const std::string& weights) {
  const SafetensorsFile file = opened(std::move(content), shown);
  if (const std::string& others = field(file, shown, "weights"); others != weights)
    fail(
        "{} is the state of a text by other weights ({}; these are {}); go on with that checkpoint,"
        " or choose another one",
        shown, others, weights);
  const TensorEntry& values = file.find("state");
  if (values.shape.size() != 2) fail("{} is no text's state: 'state' is no matrix", shown);
  TextState state{.layers = static_cast<int>(values.shape[0]),
                  .width = static_cast<int>(values.shape[1]),
                  .values = std::vector<float>(values.bytes / sizeof(float)),
                  .recent = read_ids(file, shown, "recent"),
                  .unread = read_ids(file, shown, "unread"),
                  .tokens = number_field<int64_t>(file, shown, "tokens"),
                  .draws = number_field<uint64_t>(file, shown, "draws")};
  if (const auto unshown = file.metadata().find("unshown"); unshown != file.metadata().end())
    state.unshown = name_of_text(unshown->second);  // earlier versions showed it
  file.read("state", Tensor(state.values.data(), {state.layers, state.width}));
  return state;
}

TextState load_text_state(const PathAt& file, const std::string& weights) {
  return parse_text_state(read_file(file), file.shown().string(), weights);
}

}  // namespace mmrec
