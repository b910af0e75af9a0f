#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tensor.h"
#include "support/path_at.h"

namespace mmrec {

// The safetensors format (https://github.com/huggingface/safetensors): the header's length as 8 little-endian bytes, a JSON
// header, the tensors' bytes without holes. Elements here are float32 and int32.

enum class Dtype { kF32, kI32 };

/// A tensor as a file holds it; `bytes` belongs to whoever made it and need not be aligned.
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

/// A file read into memory and checked: header, types, shapes, and that the tensors fill the file without overlap or hole.
/// Whatever is wrong throws an Error that names the file and the tensor or byte.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const PathAt& path);
  /// Of a file's bytes; errors call it `file`.
  SafetensorsFile(std::string file, std::string content);
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  /// The tensors' bytes live as long as this object.
  const StoredTensors& tensors() const { return tensors_; }
  const Metadata& metadata() const { return metadata_; }

  const StoredTensor& find(std::string_view name) const;  ///< throws if there is none
  /// Copies a tensor to a contiguous destination; its type and shape must be the same.
  void read(std::string_view name, const Tensor& destination) const;
  void read(std::string_view name, const IntTensor& destination) const;

 private:
  std::string file_;
  std::string content_;
  StoredTensors tensors_;
  Metadata metadata_;
};

}  // namespace mmrec
