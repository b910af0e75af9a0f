#include "train/run/data.h"

#include <algorithm>
#include <array>
#include <system_error>
#include <vector>

#include "support/error.h"
#include "train/data/corpus.h"
#include "train/data/prepared_data.h"
#include "train/data/split.h"
#include "train/data/text_file.h"
#include "train/run/recipe.h"

namespace mmrec {

namespace {

/// Counts the characters of a prepared text. Ids that are not characters are skipped.
CharacterCounts characters_of(const PreparedData& data) {
  std::vector<int64_t> occurrences(static_cast<size_t>(data.tokenizer.size()));
  for (const Tokens& tokens : {data.train, data.validation})
    tokens.for_each([&](int32_t id) { ++occurrences.at(static_cast<size_t>(id)); });
  CharacterCounts counts;
  for (int32_t id = Tokenizer::kMinSize - 1; id < data.tokenizer.size(); ++id)
    if (const int64_t count = occurrences[static_cast<size_t>(id)]; count > 0) {
      CharacterCounts character;
      count_characters(data.tokenizer.decode(id), "the tokenizer", character);
      counts[character.begin()->first] = count;
    }
  return counts;
}

Tokenizer extended_on_demand(const Tokenizer& known, const CharacterCounts& counts, bool extend) {
  return extend ? known.extended(counts) : known;
}

void check_kind(const TrainOptions& options, const Tokenizer& tokenizer, std::string_view owner) {
  if (const std::string name = name_of(tokenizer.kind());
      options.tokenizer != "auto" && options.tokenizer != name)
    fail_usage("--tokenizer {}: {} has one of its own, {}; leave the option out", options.tokenizer,
               owner, name);
}

bool has_unknown(const PreparedData& data) {
  bool has = false;
  if (data.tokenizer.kind() != TokenKind::kCharacter) return has;  // others have all of any text
  for (const Tokens& tokens : {data.train, data.validation})
    tokens.for_each([&](int32_t id) { has = has || id == Tokenizer::kUnknown; });
  return has;
}

/// Returns a part of a prepared text: from its file, or if that was removed from the tokens, where
/// they have all of it.
std::string text_of(const std::string& name, const std::optional<DataFile>& file,
                    const Tokens& tokens, const Tokenizer& tokenizer, bool is_complete) {
  std::string text;
  if (file)
    read_own_text(*file, [&](std::string_view piece) { text += piece; }, [](int64_t) {});
  else if (is_complete)
    tokens.for_each([&](int32_t id) { text += tokenizer.decode(id); });
  else
    fail(
        "{}: its text was removed, and not every character of the text has a token here, so that "
        "other tokens cannot be made of them; prepare it again",
        name);
  return text;
}

/// Returns the part of a "not the same text" message that explains how earlier versions read the
/// data. `condition`: when that may be the reason.
std::string read_otherwise(bool json_lines, bool marks,
                           std::string_view condition = "if the data are as they were") {
  if (!json_lines && !marks) return "";
  return fmt::format(
      " ({}: earlier versions {}{}{}; their runs and searches on such data cannot go on)",
      condition, json_lines ? "divided JSON lines by another rule" : "",
      json_lines && marks ? " and " : "",
      marks ? "kept a byte order mark at a text's beginning" : "");
}

std::string read_otherwise(const Corpus& corpus) {
  const bool is_text = corpus.facts.format == Format::kText;
  return read_otherwise(
      !is_text && corpus.asked != 0.,
      is_text && std::ranges::count(corpus.facts.texts, true, &FileFacts::has_mark) > 0);
}

/// Encodes texts with a tokenizer, extended for them if that is asked for.
RunData encoded(const Tokenizer& known, const CharacterCounts& counts, const TrainOptions& options,
                const std::string& train, const std::string& validation, std::vector<Note> notes,
                std::string otherwise) {
  const Tokenizer tokenizer = extended_on_demand(known, counts, options.extend_vocab);
  return {tokenizer,
          tokenizer.encode(train, options.data),
          tokenizer.encode(validation, options.data),
          std::move(notes),
          describe_unknown(tokenizer, counts),
          std::move(otherwise)};
}

CharacterCounts counts_of(const std::string& train, const std::string& validation,
                          const std::string& name) {
  CharacterCounts counts;
  count_characters(train, name, counts);
  count_characters(validation, name, counts);
  return counts;
}

RunData load_prepared_data(const TrainOptions& options, const std::optional<Tokenizer>& known) {
  PreparedData data = load_prepared(options.data, known ? 0 : options.vocabulary);
  if (!known) check_kind(options, data.tokenizer, options.data);
  const double tokens = static_cast<double>(data.train.count() + data.validation.count());
  const std::vector<Note> notes = {
      {fmt::format("read: {}, made by prepare: {:.0f} {}, {} of them for validation", options.data,
                   tokens, data.tokenizer.unit(),
                   percent(static_cast<double>(data.validation.count()) / std::max(1., tokens)))}};
  // Both may apply: only its manifest knows the sources.
  const std::string otherwise = read_otherwise(
      true, true, "prepare may have made it anew since; if the data are as they were");
  if (!known || *known == data.tokenizer)  // nothing is unknown
    return {extended_on_demand(data.tokenizer, {}, options.extend_vocab),
            std::move(data.train),
            std::move(data.validation),
            notes,
            "",
            otherwise};
  const bool is_complete = !has_unknown(data);
  if (!is_complete || known->kind() != TokenKind::kCharacter ||
      data.tokenizer.kind() != TokenKind::kCharacter) {
    const auto text = [&](const std::optional<DataFile>& file, const Tokens& part) {
      return text_of(options.data, file, part, data.tokenizer, is_complete);
    };
    const std::string train = text(data.train_text, data.train),
                      validation = text(data.validation_text, data.validation);
    return encoded(*known, counts_of(train, validation, options.data), options, train, validation,
                   notes, otherwise);
  }
  const CharacterCounts counts = characters_of(data);
  const Tokenizer tokenizer = extended_on_demand(*known, counts, options.extend_vocab);
  std::vector<int32_t> new_ids = {Tokenizer::kUnknown, Tokenizer::kPadding};
  while (static_cast<int>(new_ids.size()) < data.tokenizer.size())
    new_ids.push_back(tokenizer.encode(data.tokenizer.decode(static_cast<int32_t>(new_ids.size())),
                                       "the tokenizer")[0]);
  return {tokenizer, data.train.translated(new_ids),      data.validation.translated(new_ids),
          notes,     describe_unknown(tokenizer, counts), otherwise};
}

std::vector<Note> notes_of(const Corpus& corpus, const CharacterCounts& counts) {
  if (corpus.facts.texts.empty()) return {};
  std::vector<Note> notes = describe(corpus.facts, total(counts));
  if (!corpus.left_out.empty()) notes.push_back({describe(corpus.left_out)});
  notes.push_back(describe_split(corpus.asked, static_cast<int64_t>(corpus.train.size()),
                                 static_cast<int64_t>(corpus.validation.size())));
  return notes;
}

}  // namespace

std::string describe(const DataFingerprint& data, std::string_view unit) {
  return fmt::format("{} {} (CRC {:08x}) and {} for validation ({:08x})", data.train_tokens, unit,
                     data.train_crc, data.validation_tokens, data.validation_crc);
}

std::string absolute_data(const std::string& data) {
  std::error_code ignored;  // inaccessible: reading it later reports the reason
  if (data == "sample" || !std::filesystem::exists(data, ignored)) return data;
  const std::filesystem::path path = std::filesystem::absolute(data, ignored);
  return ignored ? data : path.lexically_normal().string();
}

DataFingerprint RunData::fingerprint() const {
  return {train.count(), validation.count(), train.crc32(), validation.crc32()};
}

bool RunData::is(const DataFingerprint& other) const {
  const auto same = [](const Tokens& tokens, int64_t count, uint32_t crc) {
    if (tokens.count() != count) return false;
    return tokens.crc32() == crc || std::ranges::any_of(std::array{1, 2, 4}, [&](int width) {
             return tokens.crc32_in(width) == crc;
           });
  };
  return same(train, other.train_tokens, other.train_crc) &&
         same(validation, other.validation_tokens, other.validation_crc);
}

RunData load_data(const TrainOptions& options, const std::optional<Tokenizer>& known) {
  if (known) check_kind(options, *known, "the checkpoint");
  if (is_prepared(options.data)) return load_prepared_data(options, known);
  const Corpus corpus = load_corpus(options.data, parse_validation_split(options.validation_split));
  const CharacterCounts counts = counts_of(corpus.train, corpus.validation, options.data);
  const auto made = [&] {
    const auto [kind, limit] = tokens_of_run(options, std::ssize(corpus.train));
    return make_tokenizer(
        kind, counts, [&](const auto& visit) { visit(corpus.train); }, std::ssize(corpus.train),
        limit);
  };
  return encoded(known ? *known : made(), counts, options, corpus.train, corpus.validation,
                 notes_of(corpus, counts), read_otherwise(corpus));
}

int model_vocabulary(const Config& config, const Tokenizer& tokenizer) {
  return config.vocab_size == padded_vocabulary(tokenizer.size()) ? tokenizer.size()
                                                                  : config.vocab_size;
}

void check_can_be_split(const std::string& data, const std::string& val_split) {
  std::error_code ignored;  // inaccessible: reading it later reports the reason
  if (is_prepared(data) ||
      std::filesystem::exists(std::filesystem::path(data) / "train.txt", ignored))
    fail_usage(
        "--val-split {}: {} is divided already; leave the option out, or divide the text anew with "
        "'prepare --val-split'",
        val_split, data);
}

void check_same_data(const DataFingerprint& begun_with, const RunData& now,
                     const std::string& name) {
  if (!now.is(begun_with))
    fail(
        "{} is not the text that the run was begun with: {} now, {} then{}. Give the same --data "
        "and --val-split, or start a new run on this text "
        "from the checkpoint's weights with --init",
        name, describe(now.fingerprint(), now.tokenizer.unit()),
        describe(begun_with, now.tokenizer.unit()), now.read_otherwise);
}

}  // namespace mmrec
