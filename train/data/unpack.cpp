#include "train/data/unpack.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "support/error.h"
#include "train/data/archive_reader.h"
#include "train/data/file_kind.h"
#include "train/data/plain_reader.h"
#include "train/data/wikipedia.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;

bool is_hidden(const fs::path& member) {
  return std::ranges::any_of(member, [](const fs::path& part) {
    return part.native().starts_with('.') && part != "." && part != "..";
  });
}

bool is_called_xml(const fs::path& name) { return extension_of(name) == ".xml"; }

class Unpacking {
 public:
  Unpacking(bool all_kinds, bool skip_bad, const ReadObserver& observe)
      : all_kinds_(all_kinds), skip_bad_(skip_bad), observe_(observe) {}

  Unpacked result;

  /// Adds a file, or what is in it.
  void add(const DataFile& file, bool is_given) {
    try {
      add_whole(file, is_given);
    } catch (const DamagedData&) {
      if (!skip_bad_) throw;
      result.left_out.add("damaged", file.name.string());
      if (is_given)
        result.archives.push_back({file.name, checksum_of(file, observe_), /*is_damaged=*/true});
    }
  }

 private:
  void add_whole(const DataFile& file, bool is_given) {
    PlainReader reader(file);
    const Packing packing = packing_of(reader.begin());
    if (!is_archive(packing)) return add_text(file, reader.begin(), is_given);
    const Members members = packing == Packing::kTar
                                ? copied(packing, reader, file, reader.layers())
                                : of_zip(reader, file);
    if (is_given) result.archives.push_back({file.name, checksum_of(file, observe_)});
    if (reader.was_changed())
      fail("{}: written to while it was read; repeat this when it is complete", file.name.string());
    for (const auto& [path, member] : members) add(member, /*is_given=*/false);
  }

  void add_text(const DataFile& file, std::string_view begin, bool is_given) {
    const Format format = format_of(file.name, begin);
    // An .xml in a folder or an archive is not taken for its name alone.
    if (!is_given && !all_kinds_ && format == Format::kText && is_called_xml(file.name))
      return result.left_out.add("of other kinds", file.name.string());
    result.texts.push_back(file);
    result.texts.back().format = format;
  }

  using Members = std::map<std::string, DataFile>;  // by path in the archive

  /// Zip has the list of its members at its end: it must be a file.
  Members of_zip(PlainReader& reader, const DataFile& file) {
    if (reader.compression() == Packing::kNone) {
      FileSource source(file);
      return copied(Packing::kZip, source, file, reader.layers());
    }
    const auto copy = make_temporary_file();
    const int64_t bytes = append(reader, *copy, observe_);
    FileSource source({file.name, copy, 0, bytes});
    return copied(Packing::kZip, source, file, reader.layers());
  }

  /// Copies the members that are wanted to a temporary file: the order of an archive is any, and
  /// most can be read only from beginning to end.
  Members copied(Packing packing, ByteSource& source, const DataFile& file, int layers) {
    const auto copy = make_temporary_file();
    Members members;
    int64_t end = 0;
    ArchiveReader archive(packing, source, file.name);
    while (archive.next()) {
      const fs::path path = fs::path(archive.member()).lexically_normal(),
                     name = file.name / path.relative_path();
      observe_(end);
      if (!is_wanted(archive.kind(), path, name)) continue;
      if (skip_bad_ && archive.is_encrypted()) {
        result.left_out.add("encrypted", name.string());
        continue;
      }
      const int64_t begin = end;
      end += append(archive, *copy, [&](int64_t bytes) { observe_(begin + bytes); });
      DataFile member(name, copy, begin, end - begin);
      member.layers = layers + 1;
      const auto [place, is_new] = members.insert_or_assign(path.native(), member);
      if (!is_new) result.left_out.add("replaced by a later one", name.string());
    }
    return members;
  }

  bool is_wanted(ArchiveReader::Kind kind, const fs::path& path, const fs::path& name) {
    using enum ArchiveReader::Kind;
    if (kind == kFolder) return false;
    const char* const why = is_hidden(path) ? "hidden"
                            : kind == kLink ? "by a link in an archive"
                            : kind == kOther || !(all_kinds_ || is_called_text(path))
                                ? "of other kinds"
                                : nullptr;
    if (why) result.left_out.add(why, name.string());
    return !why;
  }

  bool all_kinds_, skip_bad_;
  const ReadObserver& observe_;
};

}  // namespace

Format format_of(const fs::path& name, std::string_view begin) {
  const std::string extension = extension_of(name);
  for (const char* of_lines : {".jsonl", ".jsonlines", ".ndjson", ".json"})
    if (extension == of_lines) return Format::kJsonLines;
  return begins_like_wikipedia(begin) ? Format::kWikipedia : Format::kText;
}

bool is_called_text(const fs::path& name) {
  static const std::set<std::string> kExtensions = {
      // documents
      ".txt", ".text", ".md", ".markdown", ".rst", ".tex", ".org", ".adoc", ".jsonl", ".jsonlines",
      ".ndjson", ".json", ".xml", ".html", ".htm", ".xhtml",
      // source code
      ".asm", ".bash", ".c", ".cc", ".clj", ".cmake", ".cpp", ".cs", ".css", ".cu", ".cxx", ".el",
      ".erl", ".ex", ".f90", ".go", ".h", ".hh", ".hpp", ".hs", ".hxx", ".java", ".jl", ".js",
      ".jsx", ".kt", ".lisp", ".lua", ".m", ".ml", ".mjs", ".php", ".pl", ".pm", ".proto", ".py",
      ".r", ".rb", ".rs", ".s", ".scala", ".scm", ".sh", ".sql", ".swift", ".toml", ".ts", ".tsx",
      ".vim", ".yaml", ".yml", ".zig"};
  return kExtensions.contains(extension_of(name)) || is_called_archive(name);
}

Unpacked unpack(const std::vector<DataFile>& files, bool all_kinds, bool skip_bad,
                const ReadObserver& observe) {
  Unpacking unpacking(all_kinds, skip_bad, observe);
  for (const DataFile& file : files) unpacking.add(file, /*is_given=*/true);
  return std::move(unpacking.result);
}

}  // namespace mmrec
