#include "model/safetensors.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "support/atomic_file.h"
#include "support/error.h"
#include "support/strict_json.h"

namespace mmrec {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "tensors are stored and read as they lie in memory");

constexpr uint64_t kMaxHeader = 100'000'000;  // bytes; the format's own limit
constexpr size_t kLengthBytes = 8;
constexpr size_t kDataAlignment = 64;
constexpr size_t kElementBytes = 4;  // of both types
constexpr const char* kMetadataKey = "__metadata__";

const char* dtype_name(Dtype dtype) { return dtype == Dtype::kF32 ? "F32" : "I32"; }

/// Nothing where the product does not fit.
std::optional<uint64_t> byte_count(std::span<const int64_t> shape) {
  uint64_t bytes = kElementBytes;
  for (int64_t extent : shape)
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes)) return std::nullopt;
  return bytes;
}

template <class T>
StoredTensor stored_as(const TensorView<T>& tensor, Dtype dtype) {
  if (!tensor.contiguous()) fail("a strided tensor of shape {} is not one piece of memory", tensor.shape_string());
  StoredTensor stored{dtype, {}, std::as_bytes(std::span<const T>(tensor.data(), static_cast<size_t>(tensor.count())))};
  for (int axis = 0; axis < tensor.rank(); ++axis) stored.shape.push_back(tensor.size(axis));
  return stored;
}

/// One entry of the header, for a file with these data bytes.
StoredTensor parse_entry(const json& entry, std::span<const std::byte> data, const std::string& where) {
  if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") || !entry.contains("shape") || !entry.contains("data_offsets"))
    fail("{}: expected an object of dtype, shape and data_offsets", where);

  StoredTensor tensor{};
  const json& dtype = entry["dtype"];
  if (dtype == "F32")
    tensor.dtype = Dtype::kF32;
  else if (dtype == "I32")
    tensor.dtype = Dtype::kI32;
  else
    fail("{}: dtype {} is not supported, only F32 and I32 are", where, dtype.dump());

  const json& shape = entry["shape"];
  if (!shape.is_array()) fail("{}: the shape is not a list", where);
  for (const json& extent : shape) {
    if (!extent.is_number_unsigned() || extent.get<uint64_t>() > INT64_MAX) fail("{}: the shape's {} is not a size", where, extent.dump());
    tensor.shape.push_back(extent.get<int64_t>());
  }

  const json& offsets = entry["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned())
    fail("{}: data_offsets is not a pair of byte offsets", where);
  const uint64_t begin = offsets[0].get<uint64_t>(), end = offsets[1].get<uint64_t>();
  if (begin > end) fail("{}: it ends at data byte {}, before its start at {}", where, end, begin);
  if (end > data.size()) fail("{}: it ends at data byte {}, but the file has only {}: it is truncated or damaged", where, end, data.size());
  if (byte_count(tensor.shape) != end - begin) fail("{}: shape {} does not take the {} bytes of its offsets", where, shape.dump(), end - begin);
  tensor.bytes = data.subspan(begin, end - begin);
  return tensor;
}

/// The format leaves no byte of the data to nobody and none to two.
void check_coverage(const StoredTensors& tensors, std::span<const std::byte> data, const std::string& file) {
  std::vector<const StoredTensors::value_type*> in_order;
  for (const auto& row : tensors) in_order.push_back(&row);
  const auto offset = [&](const auto* row) { return row->second.bytes.data() - data.data(); };
  std::ranges::sort(in_order, {}, [&](const auto* row) { return std::pair(offset(row), row->second.bytes.size()); });
  ptrdiff_t end = 0;
  for (const auto* row : in_order) {
    if (offset(row) != end)
      fail("{}: tensor '{}' starts at data byte {}, but what lies before it ends at {}: {}", file, row->first, offset(row), end,
           offset(row) < end ? "they overlap" : "there is a hole");
    end += static_cast<ptrdiff_t>(row->second.bytes.size());
  }
  if (end != std::ssize(data)) fail("{}: {} bytes after the last tensor belong to none", file, std::ssize(data) - end);
}

template <class T>
void copy(const StoredTensor& source, std::string_view name, const TensorView<T>& destination, Dtype dtype, const std::string& file) {
  const StoredTensor expected = stored_as(destination, dtype);
  if (source.dtype != dtype) fail("{}: tensor '{}' is {}, expected {}", file, name, dtype_name(source.dtype), dtype_name(dtype));
  if (source.shape != expected.shape)
    fail("{}: tensor '{}' has shape [{}], expected {}", file, name, fmt::join(source.shape, ","), destination.shape_string());
  if (!source.bytes.empty()) std::memcpy(destination.data(), source.bytes.data(), source.bytes.size());
}

}  // namespace

StoredTensor to_store(const Tensor& tensor) { return stored_as(tensor, Dtype::kF32); }
StoredTensor to_store(const IntTensor& tensor) { return stored_as(tensor, Dtype::kI32); }

void write_safetensors(const PathAt& path, const StoredTensors& tensors, const Metadata& metadata) {
  json header = json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  std::vector<std::span<const std::byte>> pieces(2);  // the header's length, the header
  size_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    if (name == kMetadataKey || byte_count(tensor.shape) != tensor.bytes.size())
      fail("{}: tensor '{}' of shape [{}] and {} bytes cannot be stored", path.shown().string(), name, fmt::join(tensor.shape, ","), tensor.bytes.size());
    const size_t end = offset + tensor.bytes.size();
    header[name] = {{"dtype", dtype_name(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    pieces.push_back(tensor.bytes);
    offset = end;
  }
  std::string text = header.dump();
  const size_t data_start = (kLengthBytes + text.size() + kDataAlignment - 1) / kDataAlignment * kDataAlignment;
  text.resize(data_start - kLengthBytes, ' ');
  const uint64_t length = text.size();
  pieces[0] = std::as_bytes(std::span(&length, 1));
  pieces[1] = std::as_bytes(std::span(text));
  write_file_atomically(path, pieces);
}

SafetensorsFile::SafetensorsFile(const PathAt& path) : SafetensorsFile(path.shown().string(), read_file(path)) {}

SafetensorsFile::SafetensorsFile(std::string file, std::string content) : file_(std::move(file)), content_(std::move(content)) {
  if (content_.size() < kLengthBytes) fail("{}: {} bytes are too few for a safetensors file", file_, content_.size());
  uint64_t length;
  std::memcpy(&length, content_.data(), kLengthBytes);
  if (length > kMaxHeader) fail("{}: a header of {} bytes is beyond the format's {}: not a safetensors file, or damaged", file_, length, kMaxHeader);
  if (length > content_.size() - kLengthBytes)
    fail("{}: the header should have {} bytes, but only {} are there: the file is truncated", file_, length, content_.size() - kLengthBytes);

  const std::string_view text = std::string_view(content_).substr(kLengthBytes, length);
  if (!text.starts_with('{')) fail("{}: byte {} does not begin a JSON object: not a safetensors file, or damaged", file_, kLengthBytes);
  const json header = parse_json(text, file_ + ": header", 3);  // levels: header, entry, shape
  const std::span<const std::byte> data = std::as_bytes(std::span(content_)).subspan(kLengthBytes + length);
  for (const auto& [name, entry] : header.items()) {
    if (name != kMetadataKey) {
      tensors_.emplace(name, parse_entry(entry, data, fmt::format("{}: tensor '{}'", file_, name)));
      continue;
    }
    if (!entry.is_object()) fail("{}: {} is not an object", file_, kMetadataKey);
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string()) fail("{}: {}: the value of '{}' is not a string", file_, kMetadataKey, key);
      metadata_.emplace(key, value.get<std::string>());
    }
  }
  check_coverage(tensors_, data, file_);
}

const StoredTensor& SafetensorsFile::find(std::string_view name) const {
  const auto row = tensors_.find(name);
  if (row == tensors_.end()) fail("{}: there is no tensor '{}'", file_, name);
  return row->second;
}

void SafetensorsFile::read(std::string_view name, const Tensor& destination) const { copy(find(name), name, destination, Dtype::kF32, file_); }
void SafetensorsFile::read(std::string_view name, const IntTensor& destination) const { copy(find(name), name, destination, Dtype::kI32, file_); }

}  // namespace mmrec
