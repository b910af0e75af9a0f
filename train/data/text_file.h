#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "train/data/data_file.h"
#include "train/data/left_out.h"
#include "train/data/packing.h"

namespace mmrec {

/// How documents are found in files.
struct ReadOptions {
  std::string text_field = "text";  ///< of the objects in JSON lines
  /// Leaves out what is damaged, in place of an error: lines of JSON, files that are no UTF-8 text,
  /// archives and compressed texts. Of compressed documents those before the damage are read.
  bool skip_bad = false;
};

/// Findings about a file that was read.
struct FileFacts {
  std::filesystem::path name;
  int64_t bytes = 0;                     ///< raw bytes read
  std::string sha256;                    ///< of those bytes
  bool is_member = false;                ///< of an archive
  Packing compression = Packing::kNone;  ///< the outermost
  bool has_mark = false;                 ///< has a byte order mark (left out of the text)
  bool was_changed = false;              ///< while it was being read
  bool ends_early = false;               ///< read up to damaged compressed data
  bool is_html = false;                  ///< HTML, although its name does not say so
  bool has_json = false;                 ///< text whose lines are JSON objects
  int64_t zeros = 0;                     ///< NUL characters
  LeftOut skipped = {};  ///< documents, or the file itself, that were left out for their content
  bool is_left_out = false;  ///< the file itself was
  int64_t replaced = 0;      ///< JSON lines documents with half a UTF-16 pair, read as U+FFFD
};

/// Returns the facts of a file that is left out as a whole, and reads it for its checksum. kind:
/// see LeftOut.
FileFacts left_out_file(const DataFile& file, std::string_view kind, const ReadObserver& observe);

/// Reads a UTF-8 file. Calls visit(piece) with pieces of about 1 MB that end between characters.
/// Skips a leading byte order mark. Throws an Error with the offset of the first byte that is not
/// UTF-8 (an offset in the decompressed text if the file is compressed), and for content that
/// begins like something other than text (an archive, UTF-16).
FileFacts read_text(const DataFile& file, const std::function<void(std::string_view piece)>& visit,
                    const ReadObserver& observe);

/// Reads a file as read_text does without passing anything on. If read_text would throw for its
/// content, it is in the result's `skipped`.
FileFacts check_text(const DataFile& file, const ReadObserver& observe);

/// Like read_text, for a file that this program wrote: skips all inspection.
void read_own_text(const DataFile& file, const std::function<void(std::string_view piece)>& visit,
                   const ReadObserver& observe);

/// Like read_text, but does not check that it is UTF-8. visit() gets a piece's place in the file,
/// too. Damaged compressed data is an error, or with `skip_bad` the end of the file, which
/// `ends_early` then; one that is no text from the beginning is left out.
FileFacts read_unchecked(const DataFile& file,
                         const std::function<void(std::string_view piece, int64_t place)>& visit,
                         const ReadObserver& observe, bool skip_bad);

/// Reads a UTF-8 file of JSON objects, one per line; skips empty lines. Calls visit(text) with the
/// field options.text_field of each. Other fields are ignored. Throws an Error with line and byte
/// for an invalid line or one of more than 32 MB; with options.skip_bad it is skipped, and so is
/// all that comes after damaged compressed data.
FileFacts read_json_lines(const DataFile& file,
                          const std::function<void(std::string_view text)>& visit,
                          const ReadObserver& observe, const ReadOptions& options = {});

}  // namespace mmrec
