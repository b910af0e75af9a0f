#include "train/run_data.h"

#include <fmt/ranges.h>
#include <zlib.h>

#include <algorithm>
#include <span>

#include "runtime/error.h"
#include "train/corpus.h"

namespace mmrec {

namespace {

constexpr size_t kShownCharacters = 8;

uint32_t crc(std::span<const int32_t> tokens) {
  return static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(tokens.data()), tokens.size_bytes()));
}

std::string describe_unknown(const Tokenizer& tokenizer, const CharacterCounts& counts) {
  std::vector<std::pair<int64_t, char32_t>> unknown;  // occurrences, the most first
  int64_t occurrences = 0, all = 0;
  for (const auto& [character, count] : counts) {
    all += count;
    if (tokenizer.knows(character)) continue;
    occurrences += count;
    unknown.emplace_back(-count, character);
  }
  if (unknown.empty()) return "";
  std::ranges::sort(unknown);
  std::vector<std::string> shown;
  for (size_t i = 0; i < std::min(unknown.size(), kShownCharacters); ++i)
    shown.push_back(fmt::format("U+{:04X} ({})", static_cast<uint32_t>(unknown[i].second), -unknown[i].first));
  return fmt::format("{} of {} characters ({:.2f} %) have no token and are read as <UNK>: {} different ones, {}{}", occurrences, all,
                     100. * static_cast<double>(occurrences) / static_cast<double>(all), unknown.size(), fmt::join(shown, ", "),
                     unknown.size() > shown.size() ? ", .." : "");
}

}  // namespace

DataIdentity RunData::identity() const {
  return {static_cast<int64_t>(train.size()), static_cast<int64_t>(validation.size()), crc(train), crc(validation)};
}

RunData load_data(const TrainOptions& options, const std::optional<Tokenizer>& known) {
  const Corpus corpus = load_corpus(options.data, options.validation_split);
  CharacterCounts counts;
  count_characters(corpus.train, options.data, counts);
  count_characters(corpus.validation, options.data, counts);
  const Tokenizer tokenizer = !known ? Tokenizer(counts, options.vocabulary) : options.extend_vocab ? known->extended(counts) : *known;
  return {tokenizer, tokenizer.encode(corpus.train, options.data), tokenizer.encode(corpus.validation, options.data),
          describe_unknown(tokenizer, counts)};
}

void check_same_data(const DataIdentity& begun_with, const DataIdentity& now, const std::string& data) {
  if (now == begun_with) return;
  const auto describe = [](const DataIdentity& text) {
    return fmt::format("{} characters (CRC {:08x}) and {} for validation ({:08x})", text.train_tokens, text.train_crc, text.validation_tokens,
                       text.validation_crc);
  };
  fail(
      "{} is not the text that the run was begun with: {} now, {} then. Give the same --data and --val-split, or start a new run on this text from "
      "the checkpoint's weights with --init",
      data, describe(now), describe(begun_with));
}

}  // namespace mmrec
