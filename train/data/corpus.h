#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support/console.h"
#include "train/data/text_file.h"

namespace mmrec {

enum class Format { kText, kJsonLines };

/// Of what a file's name, without .gz and whatever the case of its letters, ends in: .jsonl, .jsonlines, .ndjson and .json are JSON lines,
/// all else is text.
Format format_of(const std::filesystem::path& path);
/// The format of files that are one corpus; throws a UsageError where they differ.
Format common_format(const std::vector<std::filesystem::path>& files);

/// What is to be said of a corpus that was read.
struct CorpusFacts {
  Format format = Format::kText;
  std::vector<FileFacts> files;
  int64_t documents = 0, empty_documents = 0;  ///< of JSON lines; the empty ones are left out
};

/// What was read, with so many characters in all, and what seems odd about it.
std::vector<Note> describe(const CorpusFacts& facts, int64_t characters);

/// Reads a corpus of one or more files in pieces of bounded size, each for training or for validation. A file of text
/// that does not end with a line end gets one before the next; a document of JSON lines gets one and an empty line. Documents
/// are split by DocumentSplit; text is all for training yet, and who has all of it cuts it at its split_point.
/// `observe` is told the bytes that have been read of all files.
CorpusFacts read_corpus(const std::vector<std::filesystem::path>& files, Format format, double val_split,
                        const std::function<void(bool validation, std::string_view piece)>& visit, const ReadObserver& observe);

/// Valid UTF-8; the validation text is empty where val_split is 0.
struct Corpus {
  std::string train, validation;
  CorpusFacts facts = {};           ///< of no file for the sample
  std::optional<double> asked = {};  ///< the part for validation that was asked for; nothing where the text was divided already
};

/// `--data`: where a run's text comes from.
/// - "sample": 1000 lines drawn from ten English sentences, always the same, and val_split * 1000 more (by default 100) for
///   validation. The training text holds 252 windows of 256 characters.
/// - a directory: its train.txt and val.txt; val_split does not matter;
/// - a file, of text or of JSON lines: its validation_part is for validation, split as read_corpus says.
/// Throws an Error where a text is missing, empty or not UTF-8, a UsageError where val_split makes no sense.
Corpus load_corpus(std::string_view data, std::optional<double> val_split);

}  // namespace mmrec
