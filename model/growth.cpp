#include "model/growth.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "model/architecture.h"
#include "model/config_file.h"
#include "model/memory.h"
#include "support/error.h"
#include "support/parse_number.h"
#include "support/strict_json.h"

namespace mmrec {

namespace {

/// Splits "blocks.3.ffn.0.weight" into 3 and "ffn.0.weight"; outside the blocks the layer is -1.
std::pair<int, std::string_view> layer_and_name(std::string_view parameter) {
  constexpr std::string_view kBlocks = "blocks.";
  if (!parameter.starts_with(kBlocks)) return {-1, parameter};
  parameter.remove_prefix(kBlocks.size());
  const size_t dot = parameter.find('.');
  return {parse_number<int>(parameter.substr(0, dot)).value(), parameter.substr(dot + 1)};
}

/// One index of an axis of the grown tensor.
struct Index {
  Role role;
  int source = -1;           ///< the old index, or -1: it is new
  float factor = 1;          ///< of what is copied to a row
  bool in_old_head = false;  ///< kHeads: of a head that the old model has
};

/// Maps the indexes of a part of an axis. before: its old size, 0 if there was none; after: its
/// size.
std::vector<Index> map_part(Role role, int before, int after, const Config& from, const Config& to,
                            GrowthRule rule) {
  std::vector<Index> map(static_cast<size_t>(after), Index{.role = role});
  const bool exact = rule == GrowthRule::kExact && before > 0;
  const bool by_heads = exact && (role == Role::kHeads || role == Role::kSlotUnits);
  const bool repeats = exact && (role == Role::kKeySlots || role == Role::kValueSlots);
  const int old_width = by_heads ? before / from.heads : 1, width = by_heads ? after / to.heads : 1;
  float factor = 1;
  if (exact && role == Role::kHeads)  // the scores are divided by the root of a head's width
    factor = std::sqrt(static_cast<float>(width) / static_cast<float>(old_width));
  if (exact && role == Role::kNorm)  // the root mean square is over more channels
    factor = std::sqrt(static_cast<float>(before) / static_cast<float>(after));
  for (int i = 0; i < after; ++i) {
    Index& index = map[static_cast<size_t>(i)];
    index.factor = factor;
    if (by_heads) {
      const int head = i / width, unit = i % width;
      index.in_old_head = head < from.heads;
      if (index.in_old_head && unit < old_width) index.source = head * old_width + unit;
    } else if (repeats) {
      index.source = i % before;
    } else if (i < before) {
      index.source = i;
    }
  }
  return map;
}

std::vector<Index> map_axis(const std::vector<Role>& roles, int before, int after,
                            const Config& from, const Config& to, GrowthRule rule) {
  const int parts = static_cast<int>(roles.size());
  std::vector<Index> map;
  for (int part = 0; part < parts; ++part)
    for (Index index : map_part(roles[static_cast<size_t>(part)], before / parts, after / parts,
                                from, to, rule)) {
      if (index.source >= 0) index.source += part * (before / parts);
      map.push_back(index);
    }
  return map;
}

/// Returns whether kExact makes an element zero that has no old value.
bool must_be_zero(const Index& row, const Index& column) {
  if (column.role == Role::kEmbedded && column.source < 0) return true;
  if (row.source < 0)
    return row.role == Role::kChannels || (row.role == Role::kHeads && row.in_old_head);
  return column.role == Role::kUnits || column.role == Role::kHeads;
}

/// A tensor as a matrix: a vector is one column.
struct Matrix {
  explicit Matrix(const Tensor& tensor)
      : values(tensor.data()),
        rows(tensor.size(0)),
        columns(tensor.rank() > 1 ? tensor.size(1) : 1) {}
  float& operator()(int row, int column) const {
    return values[static_cast<int64_t>(row) * columns + column];
  }

  float* values;
  int rows, columns;
};

/// Subtracts from each row the mean of the rows that copy the same old slot. Added to the copies,
/// the rest makes them differ and keeps their mean.
void centre_copies(const Matrix& initial, int slots) {
  const int copies = initial.rows / slots;
  for (int slot = 0; slot < slots; ++slot)
    for (int column = 0; column < initial.columns; ++column) {
      double sum = 0;
      for (int row = slot; row < initial.rows; row += slots) sum += initial(row, column);
      for (int row = slot; row < initial.rows; row += slots)
        initial(row, column) -= static_cast<float>(sum / copies);
    }
}

/// Grows one tensor in place: `grown` has its initial values. old: nullopt if the tensor is new.
/// Returns the number of elements that come from the old one.
int64_t grow_tensor(const Roles& roles, const std::optional<Matrix>& old, const Matrix& grown,
                    bool is_vector, const Config& from, const Config& to, GrowthRule rule) {
  const bool exact = rule == GrowthRule::kExact;
  const auto map = [&](const std::vector<Role>& axis, int before, int after) {
    return map_axis(axis, before, after, from, to, rule);
  };
  const std::vector<Index> rows = map(roles.rows, old ? old->rows : 0, grown.rows);
  // a bias is the column of an input that is always 1: never new where its row is old
  const std::vector<Index> columns =
      is_vector ? std::vector<Index>{{.role = Role::kChannels, .source = 0}}
                : map(roles.columns, old ? old->columns : 0, grown.columns);
  const bool varies = exact && old && roles.rows[0] == Role::kValueSlots && grown.rows > old->rows;
  if (varies) centre_copies(grown, old->rows);
  int64_t copied = 0;
  for (int r = 0; r < grown.rows; ++r)
    for (int c = 0; c < grown.columns; ++c) {
      const Index &row = rows[static_cast<size_t>(r)], &column = columns[static_cast<size_t>(c)];
      float& value = grown(r, c);
      if (row.source >= 0 && column.source >= 0) {
        value = row.factor * (*old)(row.source, column.source) + (varies ? value : 0);
        ++copied;
      } else if (exact && must_be_zero(row, column)) {
        value = 0;
      }
    }
  return copied;
}

/// Fields whose larger values kExact can reach.
struct Size {
  const char* name;
  int Config::*field;
};
constexpr Size kSizes[] = {{"vocab_size", &Config::vocab_size}, {"dim", &Config::dim},
                           {"layers", &Config::layers},         {"heads", &Config::heads},
                           {"mem_slots", &Config::mem_slots},   {"dpg_rank", &Config::dpg_rank}};

}  // namespace

int64_t Growth::copied() const {
  int64_t sum = 0;
  for (const GrownTensor& tensor : tensors) sum += tensor.copied;
  return sum;
}

int64_t Growth::count() const {
  int64_t sum = 0;
  for (const GrownTensor& tensor : tensors) sum += tensor.count;
  return sum;
}

void check_growth(const Config& from, const Config& to, GrowthRule rule) {
  if (rule == GrowthRule::kOverlap) return;
  const auto refuse = [](const std::string& problem) {
    fail_usage("--exact cannot keep the model's function: {}; leave --exact out, or change that",
               problem);
  };
  Config same_sizes = to;
  same_sizes.max_seq = from.max_seq;
  for (const auto& [name, field] : kSizes) same_sizes.*field = from.*field;
  if (same_sizes != from)
    refuse(fmt::format("another kind of model computes something else ({})",
                       describe_changes(to_json(from), to_json(same_sizes))));
  for (const auto& [name, field] : kSizes)
    if (to.*field < from.*field)
      refuse(fmt::format("{} would shrink from {} to {}", name, from.*field, to.*field));
  const int old_width = from.dim / from.heads, width = to.dim / to.heads;
  if (width < old_width)
    refuse(
        fmt::format("a head would shrink from {} to {} units (dim / heads), with which it cannot "
                    "compute its old scores",
                    old_width, width));
  if (width > old_width && to.chunk_size > 0)
    refuse(
        fmt::format("a head would get {} units in place of {}, but with chunk_size {} later "
                    "chunks hand it the layer's output, in which its units lie as before",
                    width, old_width, to.chunk_size));
  if (learns_memory(to) && top_slots(to) % top_slots(from) != 0)
    refuse(
        fmt::format("{} learned slots cannot be shared out over the {} old ones; mem_slots must "
                    "be a multiple of {}",
                    top_slots(to), top_slots(from), from.mem_slots));
}

std::string remaining_difference(const Config& from, const Config& to) {
  Arena counting;
  if (make_block(to, 1, 1)->lay_out_drawn(counting).empty() ||
      (from.dim == to.dim && from.heads == to.heads && from.mem_slots == to.mem_slots &&
       from.layers == to.layers))
    return "";
  return "the memory is random: its slots are other draws than those of the old model, so that the "
         "logits differ as they do from one draw to the next";
}

Growth grow(const Config& from, const Parameters& old, const Config& to, Parameters& grown,
            GrowthRule rule) {
  check_growth(from, to, rule);
  Growth growth;
  for (const Parameter& parameter : grown.table()) {
    const auto before = std::ranges::find(old.table(), parameter.name, &Parameter::name);
    const bool is_new = before == old.table().end();
    GrownTensor report{.name = parameter.name,
                       .before = is_new ? std::vector<int>{} : before->shape,
                       .after = parameter.shape,
                       .count = parameter.count};
    report.copied = grow_tensor(
        parameter.roles, is_new ? std::nullopt : std::optional(Matrix(old.weight(parameter.name))),
        Matrix(grown.weight(parameter.name)), parameter.shape.size() == 1, from, to, rule);
    growth.tensors.push_back(std::move(report));
  }
  for (const Parameter& parameter : old.table())
    if (std::ranges::find(grown.table(), parameter.name, &Parameter::name) == grown.table().end())
      growth.dropped.push_back(parameter.name);
  return growth;
}

std::string growth_table(const Growth& growth) {
  // A line's text without the layer, and the layers that have it, in the order of the table.
  std::vector<std::pair<std::string, std::vector<int>>> lines;
  for (const GrownTensor& tensor : growth.tensors) {
    const auto [layer, name] = layer_and_name(tensor.name);
    const std::string sizes = tensor.before.empty() ? fmt::format("{}", tensor.after)
                              : tensor.before == tensor.after
                                  ? fmt::format("{}", tensor.after)
                                  : fmt::format("{} -> {}", tensor.before, tensor.after);
    const std::string what = tensor.copied == 0 ? "new"
                             : tensor.copied == tensor.count
                                 ? "copied"
                                 : fmt::format("copied {} of {}", tensor.copied, tensor.count);
    const std::string line = fmt::format("{:<32} {:<28} {}", name, sizes, what);
    const auto same =
        std::ranges::find(lines, line, &std::pair<std::string, std::vector<int>>::first);
    if (same != lines.end() && layer >= 0)
      same->second.push_back(layer);
    else
      lines.push_back({line, {layer}});
  }
  std::string text;
  for (const auto& [line, layers] : lines)
    text += fmt::format("{:<12} {}\n",
                        layers[0] < 0 ? ""
                        : layers.size() == 1
                            ? fmt::format("block {}", layers[0])
                            : fmt::format("blocks {}-{}", layers.front(), layers.back()),
                        line);
  return text;
}

}  // namespace mmrec
