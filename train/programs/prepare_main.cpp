#include <fmt/ranges.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "support/atomic_file.h"
#include "support/console.h"
#include "support/error.h"
#include "support/file_descriptor.h"
#include "support/stop_signals.h"
#include "train/data/corpus.h"
#include "train/data/download.h"
#include "train/data/mix.h"
#include "train/data/prepare.h"
#include "train/data/source_files.h"
#include "train/data/split.h"
#include "train/data/tokenizer.h"
#include "train/programs/command_line.h"

using namespace mmrec;

namespace {

namespace fs = std::filesystem;

/// Returns a data set that comes with the project: beside the build directory of this program,
/// wherever it was moved, in the source directory it was built from, or where both are installed.
fs::path bundled(const std::string& name) {
  if (name != "tiny_shakespeare") fail_usage("--dataset {}: there is only tiny_shakespeare", name);
  std::error_code unknown;
  const fs::path program = fs::read_symlink("/proc/self/exe", unknown);
  const fs::path above = program.parent_path().parent_path();
  const std::string folders[] = {above.parent_path() / "data", MMREC_DATA_DIR,
                                 above / "share/mmrec"};
  for (const fs::path folder : folders)
    if (const fs::path file = folder / name / "input.txt";
        kind_of_file(file) == fs::file_type::regular)
      return file;
  fail("--dataset {}: it is not in {}; give the text with --input-file", name,
       fmt::join(folders, " or "));
}

/// What to prepare, in the words of the command line.
struct Source {
  std::string dataset, folder, url, sha256;
  std::vector<std::string> files, mix;
  bool follow_links = false;
};

void check(const Source& source) {
  const std::string& sha256 = source.sha256;
  if (!sha256.empty() && (source.url.empty() || sha256.size() != 64 ||
                          sha256.find_first_not_of("0123456789abcdefABCDEF") != sha256.npos))
    fail_usage("--sha256 {}: expected 64 hexadecimal digits, and a --url", sha256);
  if (source.follow_links && source.folder.empty() && source.mix.empty())
    fail_usage("--follow-links is for links in a folder; give it with --input-dir or --mix");
  int given = (source.files.empty() ? 0 : 1) + (source.mix.empty() ? 0 : 1);
  for (const std::string& name : {source.dataset, source.folder, source.url})
    if (!name.empty()) ++given;
  if (given != 1)
    fail_usage(
        "say with one of --dataset, --input-file, --input-dir, --mix and --url what to prepare");
}

DataFile opened(const fs::path& file, const std::function<void()>& check_stop) {
  return file == "-" ? standard_input([&](int64_t) { check_stop(); }) : DataFile(file);
}

/// Sets the sources of a mix and their files.
void find_mix(const Source& source, bool all_kinds, PrepareOptions& options,
              const std::function<void()>& check_stop) {
  for (const std::string& text : source.mix) {
    const auto [path, weight] = parse_mix(text);
    const fs::file_type kind = kind_of_file(path);
    if (kind == fs::file_type::not_found && path != "-" && !is_pattern(path))
      fail_usage(
          "--mix {}: there is no file or folder {}; write PATH=WEIGHT, and --mix before each, or "
          "only the path for a weight of 1",
          text, path);
    const SourceFiles found =
        kind == fs::file_type::directory
            ? files_below(path, all_kinds, source.follow_links, options.out, "--mix")
            : named_files({path}, "--mix");
    for (const fs::path& file : found.files) options.files.push_back(opened(file, check_stop));
    options.left_out.add(found.left_out);
    options.mix.push_back({path, weight, found.files.size()});
  }
}

/// Sets what the options say of the source. Downloads a file of the web. `all_kinds`: files of a
/// folder are taken whatever their names.
void find_files(const Source& source, bool all_kinds, PrepareOptions& options, Console& console,
                const std::function<void()>& check_stop) {
  options.source = source.folder.empty() ? source.dataset : full_path(source.folder).string();
  if (!source.dataset.empty()) {
    options.files = {DataFile(bundled(source.dataset))};
  } else if (!source.files.empty()) {
    options.source = fmt::format("{}", fmt::join(source.files, " "));
    SourceFiles found = named_files(source.files);
    for (const fs::path& file : found.files) options.files.push_back(opened(file, check_stop));
    options.left_out = std::move(found.left_out);
  } else if (!source.mix.empty()) {
    options.source = fmt::format("{}", fmt::join(source.mix, " "));
    find_mix(source, all_kinds, options, check_stop);
  } else if (!source.folder.empty()) {
    if (kind_of_file(source.folder) != fs::file_type::directory)
      fail_usage("--input-dir {}: there is no such folder", source.folder);
    SourceFiles found = files_below(source.folder, all_kinds, source.follow_links, options.out);
    options.files.assign(found.files.begin(), found.files.end());
    options.left_out = std::move(found.left_out);
  } else {
    const fs::path folder = fs::path(options.out) += ".download";
    const Url from = source.url;
    options.source = from.shown();
    options.files = {DataFile(folder / from.file_name())};
    make_directory(folder);
    options.remarks =
        download({.url = from, .file = options.files.front().name, .sha256 = source.sha256},
                 console, check_stop);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Program program("prepare", "Makes a folder for 'train --data' of a text of any size.",
                  "prepare --input-file book.txt --out data/book");
  PrepareOptions options;
  Source source;
  std::string format, tokenizer = "auto", vocabulary = "auto", val_split = "auto";
  bool json = false;

  CLI::App& app = program.app();
  app.add_option("--dataset", source.dataset,
                 "a data set that comes with the project: tiny_shakespeare");
  app.add_option("--input-file", source.files,
                 "a file of text or JSON lines, also compressed, or an archive of them; several, "
                 "one after another, or a pattern such as '*.txt'; -: standard input")
      ->allow_extra_args(false);
  app.add_option("--input-dir", source.folder, "all such files below a folder");
  app.add_flag("--follow-links", source.follow_links,
               "read the folders, too, to which links in the folder lead, each once");
  app.add_option("--mix", source.mix,
                 "several sources, mixed: FILE=WEIGHT or FOLDER=WEIGHT for each, such as --mix "
                 "wiki.xml.bz2=2 --mix code/=1; the weight, 1 if none is given, over the sum of "
                 "all is the source's share of the training text in bytes; a source is gone "
                 "through four times at most")
      ->type_name("PATH=WEIGHT")
      ->default_str("");
  app.add_option("--url", source.url,
                 "such a file on the web; it is kept in the folder OUT.download, and a broken "
                 "download goes on when repeated");
  app.add_option("--out", options.out, "the folder to make")->required();
  app.add_option("--val-split", val_split,
                 "part of the text that is for validation; auto: 0.2, of 10 MB and more 0.05");
  app.add_option(
         "--format", format,
         "text; jsonl: an object with a field \"text\" in each line; wikipedia: a dump of its "
         "pages in XML (default: by the files' names and their first bytes)")
      ->check(one_of({"text", "jsonl", "wikipedia"}));
  app.add_option("--text-field", options.read.text_field,
                 "the field of JSON lines that is the text (default: text)");
  app.add_flag("--skip-bad", options.read.skip_bad,
               "leave out damaged lines of JSON, those without the field, files of text that are "
               "not UTF-8, and what is damaged, in place of an error");
  app.add_option(
         "--tokenizer", tokenizer,
         "what a token is: char, a character; bytes; or bpe, pieces that SentencePiece "
         "finds in the text; auto, as train: bpe for 600 KB and more of training text, else char")
      ->check(one_of({"auto", "char", "bytes", "bpe"}));
  app.add_option("--vocab", vocabulary,
                 "auto: a token for every character, of bpe at most 4096; or a number of tokens at "
                 "most, for the most frequent");
  app.add_option("--sha256", source.sha256, "what the file of --url must have");
  app.add_flag("--json", json, "print the manifest and nothing else");

  const StopSignals signals(/*announce=*/false);
  const int code = program.run(argc, argv, [&] {
    check(source);
    if (tokenizer != "auto") options.tokens = parse_token_kind(tokenizer);
    options.vocabulary = parse_vocabulary(vocabulary, 0);
    options.val_split = parse_validation_split(val_split);
    options.out = options.out.lexically_normal();
    if (!options.out.has_filename()) options.out = options.out.parent_path();
    Console console(program.quiet() || json);
    const auto check_stop = stop_at(signals, options.out);

    find_files(source, !format.empty(), options, console, check_stop);
    if (!format.empty())
      options.format = format == "text"    ? Format::kText
                       : format == "jsonl" ? Format::kJsonLines
                                           : Format::kWikipedia;
    const nlohmann::ordered_json manifest = prepare(options, console, check_stop);
    if (json && !program.quiet()) print(stdout, manifest.dump(2) + "\n");
  });
  return code != 0 && signals.received() != 0 ? 128 + signals.received() : code;
}
