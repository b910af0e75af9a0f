#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "train/data/data_file.h"
#include "train/data/left_out.h"

namespace mmrec {

/// Returns the format of a text: JSON lines by the extension of its name, which is .jsonl,
/// .jsonlines, .ndjson or .json in any case, perhaps with compressions behind; Wikipedia's pages by
/// its first bytes; else text.
Format format_of(const std::filesystem::path& name, std::string_view begin);

/// Returns whether a corpus' folder or archive has a file with this name for its texts: one whose
/// ending is that of a document (.txt, .md, .jsonl, .xml, .html, ..) or of source code (.c, .py,
/// ..), or an archive; in any case, also compressed. One in .xml counts only if it holds
/// Wikipedia's pages.
bool is_called_text(const std::filesystem::path& name);

/// A file that was unpacked, or that was left out because it is damaged.
struct ArchiveFacts {
  std::filesystem::path name;
  Checksum checksum;
  bool is_damaged = false;
};

/// A corpus' texts without archives around them.
struct Unpacked {
  std::vector<DataFile> texts = {};         ///< perhaps compressed
  std::vector<DataFile> others = {};        ///< texts of other formats, which are left out
  std::vector<ArchiveFacts> archives = {};  ///< of the files that were given
  LeftOut left_out = {};                    ///< members of the archives
};

/// Replaces the archives among the files, recognised by content, by the texts in them, sorted by
/// the bytes of their paths; archives in archives, too. Finds their formats. Takes the members that
/// is_called_text says, or with `all_kinds` all; leaves out hidden ones and links. The members are
/// copied to a temporary file. Throws a DamagedData for a damaged archive, and an Error for
/// encrypted texts; with `skip_bad` they are left out, the archive as a whole. Calls observe(bytes
/// read) while an archive is read.
Unpacked unpack(const std::vector<DataFile>& files, bool all_kinds, bool skip_bad,
                const ReadObserver& observe);

}  // namespace mmrec
