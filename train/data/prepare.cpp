#include "train/data/prepare.h"

#include <algorithm>
#include <csignal>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "support/atomic_file.h"
#include "support/checksum.h"
#include "support/error.h"
#include "support/names.h"
#include "train/data/manifest.h"
#include "train/data/mix.h"
#include "train/data/prepared_data.h"
#include "train/data/read_watch.h"
#include "train/data/source_files.h"
#include "train/data/split.h"
#include "train/data/text_writer.h"
#include "train/data/token_file.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using CheckStop = std::function<void()>;

/// What an up-to-date folder's summary may say otherwise each time.
std::vector<Note> remarks_of(const PrepareOptions& options, const std::vector<Texts>& sources) {
  LeftOut left_out = options.left_out;
  for (const Texts& texts : sources) left_out.add(texts.unpacked.left_out);
  std::vector<Note> remarks;
  if (!left_out.empty()) remarks.push_back({describe(left_out)});
  remarks.insert(remarks.end(), options.remarks.begin(), options.remarks.end());
  return remarks;
}

/// Replaces the remarks in a stored summary: other files may be left out now.
void renew_remarks(Json& summary, const std::vector<Note>& remarks) {
  Json now = Json::array();
  for (const Json& line : summary)
    if (line.is_string() && !line.get<std::string>().starts_with(kLeftOut)) now.push_back(line);
  for (const Note& note : remarks)
    if (const Json line = visible(note.text); std::ranges::find(now, line) == now.end())
      now.push_back(line);
  summary = std::move(now);
}

/// Writes a part's token file. Returns the number of tokens.
int64_t write_tokens(const fs::path& folder, const std::string& part, const Tokenizer& tokenizer,
                     int64_t text_bytes, int64_t bytes_before, ReadWatch& watch) {
  TokenFileWriter writer(folder / (part + ".tokens"), tokenizer.size());
  int64_t count = 0;
  const auto write = [&](std::string_view text) {
    const std::vector<int32_t> ids = tokenizer.encode(text, part);
    writer.append(ids);
    count += static_cast<int64_t>(ids.size());
  };
  WholeLines lines;
  read_own_text(
      folder / (part + ".txt"), [&](std::string_view piece) { write(lines.append(piece)); },
      [&](int64_t bytes) { watch(bytes_before + bytes); });
  write(lines.rest());
  writer.finish({.vocabulary = tokenizer.size(),
                 .tokenizer_crc32 = crc32_of(read_file(folder / tokenizer.file_name())),
                 .text_bytes = text_bytes});
  return count;
}

/// Reads texts to the two parts; text all to the training part. Throws if there is none.
CorpusFacts read_texts(const Texts& texts, double val_split, const ReadOptions& options,
                       const std::function<void(bool validation, std::string_view piece)>& visit,
                       Console& console, const CheckStop& check_stop) {
  ReadWatch watch(console, check_stop, "reading", total_bytes(texts.unpacked.texts));
  bool is_empty = true;
  CorpusFacts facts = read_corpus(
      texts.unpacked, texts.format, val_split,
      [&](bool is_validation, std::string_view piece) {
        is_empty = false;
        visit(is_validation, piece);
      },
      std::ref(watch), options);
  if (is_empty) {
    const LeftOut skipped = skipped_of(facts);
    fail("{}: there is no text in it{}{}", texts.source.name,
         skipped.empty() ? "" : "; skipped: ", skipped.text());
  }
  return facts;
}

/// Returns where the validation part of a text without documents begins.
int64_t split_place(const TextWriter& text, double val_split, const std::string& source) {
  const int64_t place = text.split_place(val_split);
  if (place == 0)
    fail("{}: it is too short to be divided; with --val-split 0 all of it is for training", source);
  return place;
}

/// What was read, and what the summary says of it.
struct Read {
  std::vector<CorpusFacts> facts = {};
  std::vector<Note> notes = {};
};

Read read_whole(const PrepareOptions& options, const Texts& texts, double val_split,
                TextWriter& train, TextWriter& validation, const CharacterCounts& counts,
                Console& console, const CheckStop& check_stop) {
  const CorpusFacts facts = read_texts(
      texts, val_split, options.read,
      [&](bool is_validation, std::string_view piece) {
        (is_validation ? validation : train).append(piece);
      },
      console, check_stop);
  if (texts.format == Format::kText) {
    ReadWatch watch(console, check_stop, "splitting", 0);
    train.write_out();
    const int64_t place = split_place(train, val_split, options.source);
    train.read_end(
        place, [&](std::string_view piece) { validation.append_uncounted(piece); }, watch);
    train.cut_off(place);
  }
  return {{facts}, describe(facts, total(counts))};
}

/// Reads a source of a mix: its validation text goes to `validation`, its training text to a
/// temporary file.
MixText read_source(const PrepareOptions& options, const Texts& texts, double val_split,
                    TextWriter& validation, Read& read, Console& console,
                    const CheckStop& check_stop) {
  const std::string& name = texts.source.name;
  const bool has_documents = texts.format != Format::kText;
  const auto file = make_temporary_file();
  const int64_t validation_before = validation.bytes();
  CharacterCounts counts;  // of this source
  TextWriter text(name, file, counts);
  int64_t bytes = 0;
  const CorpusFacts facts = read_texts(
      texts, val_split, options.read,
      [&](bool is_validation, std::string_view piece) {
        if (is_validation) {
          count_characters(piece, name, counts);
          return validation.append(piece);
        }
        text.append(piece);
        bytes += std::ssize(piece);
        if (has_documents) text.append_uncounted({&kEndOfDocument, 1});
      },
      console, check_stop);
  text.write_out();
  if (!has_documents) {
    ReadWatch watch(console, check_stop, "splitting", 0);
    bytes = split_place(text, val_split, name);
    char last = '\n';
    text.read_end(
        bytes,
        [&](std::string_view piece) {
          validation.append(piece);
          last = piece.back();
        },
        watch);
    if (last != '\n') validation.append("\n");
    text.cut_off(bytes);
  }
  std::vector<Note> notes = describe(facts, total(counts));
  notes.push_back(describe_split(val_split, bytes, validation.bytes() - validation_before));
  for (Note& note : notes)
    read.notes.push_back({fmt::format("{}: {}", name, note.text), note.style});
  read.facts.push_back(facts);
  return {DataFile(name, file, 0, text.bytes()), has_documents, bytes, texts.source.weight};
}

/// Describes what became of each source: `bytes` of its text are in the mixed text.
std::vector<Note> describe_mix(const std::vector<Texts>& sources, const std::vector<MixText>& texts,
                               const std::vector<int64_t>& bytes) {
  const std::vector<MixPart> parts = parts_of_mix(texts);
  const auto all = static_cast<double>(std::accumulate(bytes.begin(), bytes.end(), int64_t{0}));
  std::vector<Note> notes;
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto taken = static_cast<double>(bytes[i]);
    const char* const why = bytes[i] == 0         ? "; its share is too small for a piece of it"
                            : parts[i].is_limited ? ", which is the most"
                                                  : "";
    notes.push_back(
        {fmt::format("mix: {} of the training text, {} asked for: {}, gone through {:.2f} times{}",
                     percent(taken / all), percent(parts[i].asked), sources[i].source.name,
                     taken / static_cast<double>(texts[i].bytes), why),
         *why ? Style::kWarning : Style::kPlain});
  }
  return notes;
}

Read read_mix(const PrepareOptions& options, const std::vector<Texts>& sources, double val_split,
              TextWriter& train, TextWriter& validation, Console& console,
              const CheckStop& check_stop) {
  Read read;
  std::vector<MixText> texts;
  for (const Texts& source : sources)
    texts.push_back(read_source(options, source, val_split, validation, read, console, check_stop));
  int64_t bytes = 0;
  for (const MixText& text : texts) bytes += text.bytes;
  ReadWatch watch(console, check_stop, "mixing", bytes);
  const std::vector<int64_t> mixed = mix(texts, [&](std::string_view piece) {
    train.append(piece);
    watch(train.bytes());
  });
  for (Note& note : describe_mix(sources, texts, mixed)) read.notes.push_back(std::move(note));
  return read;
}

/// Says which tokens were chosen for nobody did.
Note describe_choice(const TokenChoice& tokens) {
  const std::string limit =
      tokens.kind == TokenKind::kPiece ? fmt::format(", at most {} tokens", tokens.limit) : "";
  return {fmt::format("tokenizer: {}{}, by the size of the text (--tokenizer for another)",
                      name_of(tokens.kind), limit)};
}

/// Writes all files except the manifest; fills in the manifest. Returns what the tokens are.
TokenKind write_results(const PrepareOptions& options, const std::vector<Texts>& sources,
                        double val_split, const fs::path& folder, Json& manifest, Console& console,
                        const CheckStop& check_stop) {
  CharacterCounts counts;
  TextWriter train(folder / "train.txt", counts), validation(folder / "val.txt", counts);
  auto [facts, notes] = options.mix.empty() ? read_whole(options, sources.front(), val_split, train,
                                                         validation, counts, console, check_stop)
                                            : read_mix(options, sources, val_split, train,
                                                       validation, console, check_stop);
  train.flush();
  validation.flush();

  const TokenChoice tokens = tokens_of(options, train.bytes());
  check_is_ours(options.out, tokens.kind);
  manifest["inputs"] = describe_inputs(options, tokens, sources, val_split);
  const Tokenizer tokenizer = [&] {
    ReadWatch watch(console, check_stop, "making the tokenizer", train.bytes());
    const TextSource text = [&](const std::function<void(std::string_view)>& visit) {
      read_own_text(folder / "train.txt", visit, [&](int64_t bytes) { watch(bytes); });
    };
    return make_tokenizer(tokens.kind, counts, text, train.bytes(), tokens.limit, check_stop);
  }();
  tokenizer.save(folder / tokenizer.file_name());
  Json& results = manifest["results"];
  {
    ReadWatch watch(console, check_stop, "writing tokens", train.bytes() + validation.bytes());
    const int64_t train_tokens = write_tokens(folder, "train", tokenizer, train.bytes(), 0, watch);
    const int64_t validation_tokens =
        write_tokens(folder, "val", tokenizer, validation.bytes(), train.bytes(), watch);
    results = {{"vocabulary", tokenizer.size()},
               {"characters", counts.size()},
               {"train_tokens", train_tokens},
               {"val_tokens", validation_tokens}};
    int64_t documents = 0;
    for (const CorpusFacts& of_source : facts) documents += of_source.documents;
    if (documents > 0) results["documents"] = documents;
  }

  manifest["inputs"]["files"] = describe_sources(options.files, facts);
  const std::vector<Note> remarks = remarks_of(options, sources);
  notes.insert(notes.end(), remarks.begin(), remarks.end());
  if (options.mix.empty())
    notes.push_back(describe_split(val_split, train.bytes(), validation.bytes()));
  if (!options.tokens) notes.push_back(describe_choice(tokens));
  if (const std::string unknown = describe_unknown(tokenizer, counts); !unknown.empty())
    notes.push_back({unknown, Style::kWarning});
  Json& summary = manifest["summary"] = Json::array();
  for (const Note& note : notes) {
    console.line(note.text, note.style);
    summary.push_back(visible(note.text));
  }
  return tokens.kind;
}

Texts unpack_texts(const PrepareOptions& options, const MixSource& source,
                   const std::vector<DataFile>& files, Console& console,
                   const CheckStop& check_stop) {
  ReadWatch watch(console, check_stop, "unpacking", 0);
  Unpacked texts = unpack(files, /*all_kinds=*/options.format.has_value(), options.read.skip_bad,
                          std::ref(watch));
  if (texts.texts.empty())
    fail("{}: there are no texts in it{}{}", source.name, texts.left_out.empty() ? "" : ", but ",
         texts.left_out.text());
  const Format format = options.format          ? *options.format
                        : options.read.skip_bad ? keep_main_format(texts)
                                                : common_format(texts.texts);
  return {source, std::move(texts), format};
}

std::vector<Texts> unpack_sources(const PrepareOptions& options, Console& console,
                                  const CheckStop& check_stop) {
  if (options.mix.empty())
    return {unpack_texts(options, {options.source, 1, options.files.size()}, options.files, console,
                         check_stop)};
  std::vector<Texts> sources;
  auto begin = options.files.begin();
  for (const MixSource& source : options.mix) {
    const auto end = begin + static_cast<ptrdiff_t>(source.files);
    sources.push_back(unpack_texts(options, source, {begin, end}, console, check_stop));
    begin = end;
  }
  return sources;
}

/// Throws if a file is in two sources of a mix.
void check_sources_differ(const PrepareOptions& options) {
  std::map<fs::path, const MixSource*> source_of;
  auto file = options.files.begin();
  for (const MixSource& source : options.mix)
    for (size_t i = 0; i < source.files; ++i, ++file)
      if (const auto [place, is_new] =
              source_of.try_emplace(file->copy ? file->name : resolved(file->name), &source);
          !is_new)
        fail_usage(
            "--mix: {} is in two sources, {} and {}; give it once, its weight says how much of it "
            "there is to be",
            file->name.string(), place->second->name, source.name);
}

}  // namespace

std::optional<PrepareOptions> texts_to_prepare(const std::string& data) {
  const fs::path out = folder_to_make(data);
  const bool is_folder = kind_of_file(data) == fs::file_type::directory;
  const auto has = [&](const char* file) {
    return kind_of_file(fs::path(data) / file) != fs::file_type::not_found;
  };
  if (!is_folder && !is_pattern(data)) return std::nullopt;
  if (is_folder && (is_prepared(data) || has("train.txt") || has("val.txt"))) return std::nullopt;
  const std::string source = full_path(data).string();
  SourceFiles found =
      is_folder ? files_below(data, /*all_kinds=*/false, /*follow_links=*/false, out, "--data")
                : named_files({data}, "--data");
  check_is_of(out, source, data);
  return PrepareOptions{.source = source,
                        .files = {found.files.begin(), found.files.end()},
                        .read = {.skip_bad = true},  // a tree of sources has some for its tests
                        .left_out = std::move(found.left_out),
                        .out = out};
}

std::function<void()> stop_at(const StopSignals& signals, fs::path out) {
  return [&signals, out = std::move(out)] {
    if (signals.received() == SIGPIPE)
      throw std::system_error(std::make_error_code(std::errc::broken_pipe));
    if (signals.received() != 0)
      fail("stopped by a signal: {} is as it was before; a download goes on when it is repeated",
           out.string());
  };
}

Json prepare(const PrepareOptions& options, Console& console, const CheckStop& check_stop) {
  const auto is_of_result = within(options.out);
  for (const DataFile& file : options.files)
    if (!file.copy && is_of_result(file.name))
      fail_usage("{}: it is in --out {}, whose files make place for new ones; choose another --out",
                 file.name.string(), options.out.string());
  check_sources_differ(options);
  if (options.tokens == TokenKind::kByte && options.vocabulary != 0 &&
      options.vocabulary != Tokenizer::kByteSize)
    fail_usage("--vocab {}: with --tokenizer bytes there are {} tokens; leave the option out",
               options.vocabulary, Tokenizer::kByteSize);
  const int64_t bytes = total_bytes(options.files);
  const double val_split = validation_part(options.val_split, bytes);
  check_is_ours(options.out, options.tokens);
  for (const fs::path& left : remove_abandoned(options.out))
    console.line(
        fmt::format("tidied up {}, which a prepare that was killed had left", left.string()));
  const std::vector<Texts> sources = unpack_sources(options, console, check_stop);
  if (options.read.text_field != ReadOptions{}.text_field &&
      std::ranges::count(sources, Format::kJsonLines, &Texts::format) == 0)
    fail_usage("--text-field {}: {} has no JSON lines; leave the option out",
               options.read.text_field, options.source);
  if (Json made = find_made(options, sources, val_split, bytes, console, check_stop);
      !made.is_null()) {
    const std::vector<Note> remarks = remarks_of(options, sources);
    for (const Note& note : remarks) console.line(note.text, note.style);
    renew_remarks(made["summary"], remarks);
    console.line(fmt::format("{} is up to date", options.out.string()), Style::kHeading);
    return made;
  }

  Json manifest = {{"source", text_of_name(options.source)}};
  TokenKind tokens{};
  const bool is_anew = kind_of_file(options.out / kManifest) == fs::file_type::regular;
  if (options.out.has_parent_path()) make_directory(options.out.parent_path());
  const auto write = [&](const PathAt& partial) {
    const fs::path& folder = partial.path();
    tokens = write_results(options, sources, val_split, folder, manifest, console, check_stop);
    const std::vector<DataFile> files = result_files(folder, tokens);
    ReadWatch watch(console, check_stop, "checking the result", total_bytes(files));
    manifest["files"] = describe_files(files, folder, watch);
    write_file_atomically(folder / kManifest, manifest.dump(2) + "\n");
  };
  using Names = std::span<const char* const>;
  write_directory_atomically(options.out, write, is_anew ? Names(Tokenizer::kFileNames) : Names());
  if (is_anew)
    console.line(fmt::format("{} is made anew: it was of other texts or settings, or altered; "
                             "a run on another text cannot be resumed with it",
                             options.out.string()),
                 Style::kWarning);
  const Json& results = manifest["results"];
  console.line(
      fmt::format("{}: {} {} for training, {} for validation, {} tokens in the vocabulary",
                  options.out.string(), results["train_tokens"].get<int64_t>(), unit_of(tokens),
                  results["val_tokens"].get<int64_t>(), results["vocabulary"].get<int>()),
      Style::kHeading);
  return manifest;
}

}  // namespace mmrec
