#include "train/infer/text_state.h"

#include <optional>

#include "model/safetensors.h"
#include "support/error.h"
#include "support/parse_number.h"

namespace mmrec {

namespace {

SafetensorsFile open_state(const PathAt& file) {
  try {
    return SafetensorsFile(file);
  } catch (const Error& error) {
    fail("{} is no saved state of a text, choose another file: {}", file.shown().string(),
         error.what());
  }
}

const std::string& field(const SafetensorsFile& content, const PathAt& file, const char* name) {
  const auto found = content.metadata().find(name);
  if (found == content.metadata().end())
    fail("{} is no text's state: it has no field '{}'", file.shown().string(), name);
  return found->second;
}

template <class Number>
Number number_field(const SafetensorsFile& content, const PathAt& file, const char* name) {
  const std::string& text = field(content, file, name);
  const std::optional<Number> number = parse_number<Number>(text);
  if (!number || *number < 0)
    fail("{}: the field '{}' is '{}' and no count", file.shown().string(), name, text);
  return *number;
}

IntTensor ids_of(const std::vector<int32_t>& ids) {
  return {const_cast<int32_t*>(ids.data()), {static_cast<int>(ids.size())}};
}

std::vector<int32_t> read_ids(const SafetensorsFile& content, const PathAt& file,
                              const char* name) {
  const TensorEntry& entry = content.find(name);
  if (entry.shape.size() != 1)
    fail("{} is no text's state: '{}' is no list", file.shown().string(), name);
  std::vector<int32_t> ids(entry.bytes / sizeof(int32_t));
  content.read(name, ids_of(ids));
  return ids;
}

}  // namespace

void save_text_state(const PathAt& file, const TextState& state, const std::string& weights) {
  const Tensor values(const_cast<float*>(state.values.data()), {state.layers, state.width});
  write_safetensors(file,
                    {{"state", to_store(values)},
                     {"recent", to_store(ids_of(state.recent))},
                     {"unread", to_store(ids_of(state.unread))}},
                    {{"weights", weights},
                     {"tokens", std::to_string(state.tokens)},
                     {"draws", std::to_string(state.draws)}});
}

TextState load_text_state(const PathAt& file, const std::string& weights) {
  const SafetensorsFile content = open_state(file);
  if (const std::string& others = field(content, file, "weights"); others != weights)
    fail(
        "{} is the state of a text by other weights ({}; these are {}); go on with that checkpoint,"
        " or choose another file",
        file.shown().string(), others, weights);
  const TensorEntry& values = content.find("state");
  if (values.shape.size() != 2)
    fail("{} is no text's state: 'state' is no matrix", file.shown().string());
  TextState state{.layers = static_cast<int>(values.shape[0]),
                  .width = static_cast<int>(values.shape[1]),
                  .values = std::vector<float>(values.bytes / sizeof(float)),
                  .recent = read_ids(content, file, "recent"),
                  .unread = read_ids(content, file, "unread"),
                  .tokens = number_field<int64_t>(content, file, "tokens"),
                  .draws = number_field<uint64_t>(content, file, "draws")};
  content.read("state", Tensor(state.values.data(), {state.layers, state.width}));
  return state;
}

}  // namespace mmrec
