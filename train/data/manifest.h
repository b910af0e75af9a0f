#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "support/console.h"
#include "train/data/corpus.h"
#include "train/data/data_file.h"
#include "train/data/prepare.h"
#include "train/data/read_watch.h"
#include "train/data/tokenizer.h"
#include "train/data/unpack.h"

namespace mmrec {

// What is known of a folder that prepare made: its file manifest.json has the options and the files
// that it was made of, the files in it, and the summary that was printed.

constexpr const char* kManifest = "manifest.json";

/// Texts that are read and divided together: all, or those of a source of a mix.
struct Texts {
  MixSource source;
  Unpacked unpacked;
  Format format;
};

/// Returns the tokens for a training text of so many bytes.
TokenChoice tokens_of(const PrepareOptions& options, int64_t bytes);

int64_t total_bytes(const std::vector<DataFile>& files);

/// Returns the files that a folder is to have, but for the manifest.
std::vector<DataFile> result_files(const std::filesystem::path& folder, TokenKind tokens);

/// Reads files and returns [{"name", "bytes", "sha256"}, ..].
nlohmann::ordered_json describe_files(const std::vector<DataFile>& files,
                                      const std::filesystem::path& relative_to, ReadWatch& watch);

/// Returns the same of the files that were given, as they were read.
nlohmann::ordered_json describe_sources(const std::vector<DataFile>& files,
                                        const std::vector<CorpusFacts>& facts);

/// Together with the files, this determines the result completely: equal inputs give equal results.
/// (Of more than 2.5 MB earlier versions found other pieces; their folders stay as they are.)
nlohmann::ordered_json describe_inputs(const PrepareOptions& options, const TokenChoice& tokens,
                                       const std::vector<Texts>& sources, double val_split);

/// Returns the manifest of a folder that holds, unchanged, the result of these options and texts;
/// null if it does not. `bytes`: those of the files.
nlohmann::ordered_json find_made(const PrepareOptions& options, const std::vector<Texts>& sources,
                                 double val_split, int64_t bytes, Console& console,
                                 const std::function<void()>& check_stop);

/// Throws if a folder was made of something else, of which there may be runs: `data` stands for
/// texts at `source`.
void check_is_of(const std::filesystem::path& out, const std::string& source,
                 const std::string& data);

/// Throws if a folder holds foreign files: they must not be replaced. A tokenizer's file is one
/// where there is no manifest and it is not called as that of `tokens`; empty: as that of any.
void check_is_ours(const std::filesystem::path& out, std::optional<TokenKind> tokens);

}  // namespace mmrec
