#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support/console.h"
#include "train/data/left_out.h"
#include "train/data/text_file.h"
#include "train/data/unpack.h"

namespace mmrec {

/// Returns the common format of a corpus' texts. JSON lines in files called .json are text among
/// files of text, as in a source tree. Throws a UsageError if the formats differ.
Format common_format(const std::vector<DataFile>& texts);

/// Findings about a corpus that was read.
struct CorpusFacts {
  Format format = Format::kText;
  std::vector<FileFacts> texts;                ///< in the order of reading
  std::vector<ArchiveFacts> archives;          ///< in which some of them were, and damaged files
  int64_t documents = 0, empty_documents = 0;  ///< not of text; empty documents are left out
};

/// Returns the line of a summary for what was left out of a corpus' folders and archives.
std::string describe(const LeftOut& left_out);
constexpr std::string_view kLeftOut = "left out: ";  ///< what it begins with

/// Returns what was left out of the texts for its content.
LeftOut skipped_of(const CorpusFacts& facts);

/// Moves all texts but those of the format that has the most bytes to `others`. Returns it.
Format keep_main_format(Unpacked& corpus);

/// Describes the corpus, with its total number of characters, and warns about anything odd.
std::vector<Note> describe(const CorpusFacts& facts, int64_t characters);

/// Reads a corpus of one or more texts in pieces of bounded size; visit() tells whether a piece is
/// for training or validation. A text file without a final line end gets one before the next file.
/// A document gets a line end and an empty line, and is one piece with them. DocumentSplit divides
/// documents. Text is all passed as training text: the caller cuts the whole at its split_point.
/// `observe` gets the bytes read so far of all texts. With options.skip_bad a text that is not
/// UTF-8 is left out; each is read twice.
CorpusFacts read_corpus(const Unpacked& corpus, Format format, double val_split,
                        const std::function<void(bool validation, std::string_view piece)>& visit,
                        const ReadObserver& observe, const ReadOptions& options = {});

/// A corpus in memory. All text is valid UTF-8. The validation text is empty if val_split is 0.
struct Corpus {
  std::string train, validation;
  CorpusFacts facts = {};  ///< no texts for the sample
  LeftOut left_out = {};   ///< members of an archive
  /// requested validation part; empty if the text was split already
  std::optional<double> asked = {};
};

/// Returns a file's or folder's absolute path, without a slash at its end.
std::filesystem::path full_path(const std::filesystem::path& path);

/// Returns the folder data/NAME that `prepare` makes of what is below a folder, or of the files of
/// a pattern, for `--data`.
std::filesystem::path folder_to_make(const std::filesystem::path& texts);

/// Loads the text of `--data`:
/// - "sample": 1000 lines drawn from ten English sentences, always the same, and val_split * 1000
/// more lines (default 100) for validation. The training text holds 252 windows of 256 characters.
/// - a directory: its train.txt and val.txt; val_split is ignored.
/// - a file of text or JSON lines, or an archive of them: its validation_part is for validation,
/// split as read_corpus describes. Throws an Error if a text is missing, empty or not UTF-8; a
/// UsageError for an impossible val_split.
Corpus load_corpus(std::string_view data, std::optional<double> val_split);

}  // namespace mmrec
