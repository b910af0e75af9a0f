#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
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

// The safetensors format (https://github.com/huggingface/safetensors): the length of the header as
// 8 little-endian bytes, a JSON header, the tensors' bytes without gaps. Only float32 and int32 are
// supported here.

enum class Dtype { kF32, kI32 };

/// A tensor to write. `bytes` is owned by the caller and need not be aligned.
struct StoredTensor {
  Dtype dtype;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

/// Describes a contiguous tensor for writing. Throws an Error for a strided tensor.
StoredTensor to_store(const Tensor& tensor);
StoredTensor to_store(const IntTensor& tensor);

using StoredTensors = std::map<std::string, StoredTensor, std::less<>>;
using Metadata = std::map<std::string, std::string, std::less<>>;

/// Returns what write_safetensors() writes.
std::string safetensors_content(const StoredTensors& tensors, const Metadata& metadata = {});

/// Writes tensors in the order of their names, directly from their memory, atomically (see
/// atomic_file.h). The data starts at a multiple of 64 bytes. before: called before the bytes of
/// each tensor are read from memory, for tensors whose values come there only then.
void write_safetensors(const PathAt& path, const StoredTensors& tensors,
                       const Metadata& metadata = {},
                       const std::function<void(const std::string& name)>& before = {});

/// A tensor's entry in the header.
struct TensorEntry {
  Dtype dtype;
  std::vector<int64_t> shape;
  uint64_t begin, bytes;  ///< byte offset in the file, size in bytes
};
using TensorEntries = std::map<std::string, TensorEntry, std::less<>>;
/// Destinations of tensors to read, by name.
using TensorPlaces = std::vector<std::pair<std::string, Tensor>>;

/// An open file, or the content of one, with a validated header: dtypes, shapes, and full coverage
/// of the data without overlaps or gaps. Tensors are read directly to their destination. Any
/// problem throws an Error that names the file and the tensor or byte.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const PathAt& path);
  /// `shown` is the file's name in error messages.
  SafetensorsFile(std::shared_ptr<const FileDescriptor> file, std::string shown);
  /// Of a file that is in memory.
  SafetensorsFile(std::string content, std::string shown);

  const TensorEntries& tensors() const { return tensors_; }
  const Metadata& metadata() const { return metadata_; }

  const TensorEntry& find(std::string_view name) const;  ///< throws an Error if there is none
  /// Reads a tensor to a contiguous destination of the same dtype and shape.
  void read(std::string_view name, const Tensor& destination) const;
  void read(std::string_view name, const IntTensor& destination) const;
  /// Returns a tensor's raw bytes.
  std::vector<std::byte> bytes(std::string_view name) const;

  /// Reads the whole file once, from beginning to end, and returns its CRC-32. Tensors with a
  /// destination are stored there; all other bytes only go into the checksum. All names, dtypes and
  /// shapes are checked before anything is written to a destination.
  uint32_t read_all(const TensorPlaces& places) const;

 private:
  /// Fills the bytes from a position of the file on, and returns how many there were.
  using ReadAt = std::function<size_t(uint64_t place, std::span<std::byte> bytes)>;
  SafetensorsFile(uint64_t size, ReadAt read_at, std::string shown);
  void read_exactly(uint64_t place, std::span<std::byte> bytes) const;

  ReadAt read_at_;
  std::string shown_;
  uint32_t head_crc32_;  // of the header's length and the header
  TensorEntries tensors_;
  Metadata metadata_;
};

}  // namespace mmrec
