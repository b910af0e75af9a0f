#pragma once

#include <filesystem>
#include <string_view>

#include "support/error.h"

namespace mmrec {

/// An archive or compressed data that are damaged or incomplete. The message is of `file`.
struct DamagedData : Error {
  DamagedData(const std::filesystem::path& file, std::string_view problem,
              std::string_view advice = "get the file again");
};

/// How bytes are packed: compressed, or as the members of an archive.
enum class Packing { kNone, kGzip, kXz, kBzip2, kZstd, kTar, kZip };

/// Number of first bytes that show the packing.
constexpr size_t kPackingBytes = 512;

/// Recognises the packing by the first bytes, of which there should be kPackingBytes.
Packing packing_of(std::string_view begin);
/// Returns "gzip", "xz", "bzip2", "zstd", "tar" or "zip".
std::string_view name_of(Packing packing);
inline bool is_archive(Packing packing) {
  return packing == Packing::kTar || packing == Packing::kZip;
}

/// Removes the endings of compressed files from a name: "a.jsonl" for "a.jsonl.gz.xz", in any case.
std::filesystem::path without_compression(const std::filesystem::path& name);
/// Returns whether a file's name is that of a compressed file or an archive.
bool is_called_packed(const std::filesystem::path& name);
/// Returns whether a file's name is that of an archive, perhaps compressed: .tar, .tar.gz, .tgz, ..
bool is_called_archive(const std::filesystem::path& name);

}  // namespace mmrec
