#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/tensor.h"
#include "support/file_descriptor.h"
#include "support/path_at.h"

namespace mmrec {

// The safetensors format (https://github.com/huggingface/safetensors): the header's length as 8 little-endian bytes, a JSON
// header, the tensors' bytes without holes. Elements here are float32 and int32.

enum class Dtype { kF32, kI32 };

/// A tensor to be stored; `bytes` belongs to whoever made it and need not be aligned.
struct StoredTensor {
  Dtype dtype;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

/// A contiguous tensor as it is to be stored.
StoredTensor to_store(const Tensor& tensor);
StoredTensor to_store(const IntTensor& tensor);

using StoredTensors = std::map<std::string, StoredTensor, std::less<>>;
using Metadata = std::map<std::string, std::string, std::less<>>;

/// Writes tensors in the order of their names, straight from where they are, and atomically (see atomic_file.h). The data
/// starts at a multiple of 64 bytes.
void write_safetensors(const PathAt& path, const StoredTensors& tensors, const Metadata& metadata = {});

/// What a file's header says of a tensor.
struct TensorEntry {
  Dtype dtype;
  std::vector<int64_t> shape;
  uint64_t begin, bytes;  ///< its place in the file and its size
};
using TensorEntries = std::map<std::string, TensorEntry, std::less<>>;
/// Where the tensors of these names are to be read to.
using TensorPlaces = std::vector<std::pair<std::string, Tensor>>;

/// A file that is held open, whose header has been read and checked: types, shapes, and that the tensors fill the file without overlap or hole.
/// Tensors are read straight to where they are wanted. Whatever is wrong throws an Error that names the file and the tensor or byte.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const PathAt& path);
  /// Errors call the file `shown`.
  SafetensorsFile(std::shared_ptr<const FileDescriptor> file, std::string shown);

  const TensorEntries& tensors() const { return tensors_; }
  const Metadata& metadata() const { return metadata_; }

  const TensorEntry& find(std::string_view name) const;  ///< throws if there is none
  /// Reads a tensor to a contiguous destination; its type and shape must be the same.
  void read(std::string_view name, const Tensor& destination) const;
  void read(std::string_view name, const IntTensor& destination) const;
  /// A tensor's bytes, as they are stored.
  std::vector<std::byte> bytes(std::string_view name) const;

  /// Reads all tensors that have a place, as read() does, and all other bytes, each once, from the file's beginning to its end. Returns the CRC-32
  /// of these bytes. Names, types and shapes are compared before any place is written to.
  uint32_t read_all(const TensorPlaces& places) const;

 private:
  std::shared_ptr<const FileDescriptor> file_;
  std::string shown_;
  uint32_t head_crc32_;  // of the header's length and the header
  TensorEntries tensors_;
  Metadata metadata_;
};

}  // namespace mmrec
