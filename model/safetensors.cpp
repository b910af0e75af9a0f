#include "model/safetensors.h"

#include <fcntl.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "support/atomic_file.h"
#include "support/checksum.h"
#include "support/error.h"
#include "support/strict_json.h"

namespace mmrec {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little,
              "tensors are stored and read as they lie in memory");

constexpr uint64_t kMaxHeader = 100'000'000;  // bytes; the limit of the format
constexpr size_t kLengthBytes = 8;
constexpr size_t kDataAlignment = 64;
constexpr size_t kElementBytes = 4;  // of both dtypes
constexpr const char* kMetadataKey = "__metadata__";

const char* dtype_name(Dtype dtype) { return dtype == Dtype::kF32 ? "F32" : "I32"; }

/// Returns nullopt on overflow.
std::optional<uint64_t> byte_count(std::span<const int64_t> shape) {
  uint64_t bytes = kElementBytes;
  for (int64_t extent : shape)
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes)) return std::nullopt;
  return bytes;
}

template <class T>
StoredTensor stored_as(const TensorView<T>& tensor, Dtype dtype) {
  if (!tensor.contiguous())
    fail("a strided tensor of shape {} is not one piece of memory", tensor.shape_string());
  StoredTensor stored{
      dtype,
      {},
      std::as_bytes(std::span<const T>(tensor.data(), static_cast<size_t>(tensor.count())))};
  for (int axis = 0; axis < tensor.rank(); ++axis) stored.shape.push_back(tensor.size(axis));
  return stored;
}

/// The data section of a file: the bytes after the header.
struct Data {
  uint64_t begin, bytes;
};

/// Parses one entry of the header.
TensorEntry parse_entry(const json& entry, const Data& data, const std::string& where) {
  if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") ||
      !entry.contains("shape") || !entry.contains("data_offsets"))
    fail("{}: expected an object of dtype, shape and data_offsets", where);

  TensorEntry tensor{};
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
    if (!extent.is_number_unsigned() || extent.get<uint64_t>() > INT64_MAX)
      fail("{}: the shape's {} is not a size", where, extent.dump());
    tensor.shape.push_back(extent.get<int64_t>());
  }

  const json& offsets = entry["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned())
    fail("{}: data_offsets is not a pair of byte offsets", where);
  const uint64_t begin = offsets[0].get<uint64_t>(), end = offsets[1].get<uint64_t>();
  if (begin > end) fail("{}: it ends at data byte {}, before its start at {}", where, end, begin);
  if (end > data.bytes)
    fail("{}: it ends at data byte {}, but the file has only {}: it is truncated or damaged", where,
         end, data.bytes);
  if (byte_count(tensor.shape) != end - begin)
    fail("{}: shape {} does not take the {} bytes of its offsets", where, shape.dump(),
         end - begin);
  tensor.begin = data.begin + begin;
  tensor.bytes = end - begin;
  return tensor;
}

std::vector<const TensorEntries::value_type*> in_order_of_place(const TensorEntries& tensors) {
  std::vector<const TensorEntries::value_type*> in_order;
  for (const auto& row : tensors) in_order.push_back(&row);
  std::ranges::sort(in_order, {}, [](const auto* row) {
    return std::pair(row->second.begin, row->second.bytes);
  });
  return in_order;
}

/// The format requires that every byte of the data belongs to exactly one tensor.
void check_coverage(const TensorEntries& tensors, const Data& data, const std::string& file) {
  uint64_t end = 0;
  for (const auto* row : in_order_of_place(tensors)) {
    const uint64_t begin = row->second.begin - data.begin;
    if (begin != end)
      fail("{}: tensor '{}' starts at data byte {}, but what lies before it ends at {}: {}", file,
           row->first, begin, end, begin < end ? "they overlap" : "there is a hole");
    end += row->second.bytes;
  }
  if (end != data.bytes)
    fail("{}: {} bytes after the last tensor belong to none", file, data.bytes - end);
}

/// Returns the destination's memory, after checking the entry's dtype and shape.
template <class T>
std::span<std::byte> room_for(const TensorEntry& entry, std::string_view name,
                              const TensorView<T>& destination, Dtype dtype,
                              const std::string& file) {
  const StoredTensor expected = stored_as(destination, dtype);
  if (entry.dtype != dtype)
    fail("{}: tensor '{}' is {}, expected {}", file, name, dtype_name(entry.dtype),
         dtype_name(dtype));
  if (entry.shape != expected.shape)
    fail("{}: tensor '{}' has shape [{}], expected {}", file, name, fmt::join(entry.shape, ","),
         destination.shape_string());
  return std::as_writable_bytes(
      std::span<T>(destination.data(), static_cast<size_t>(destination.count())));
}

/// Passes what the file consists of to write(piece), one after the other; see write_safetensors().
/// `shown` is its name in messages.
void write_pieces(const StoredTensors& tensors, const Metadata& metadata, const std::string& shown,
                  const std::function<void(const std::string& name)>& before,
                  const WritePiece& write) {
  json header = json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  size_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    if (name == kMetadataKey || byte_count(tensor.shape) != tensor.bytes.size())
      fail("{}: tensor '{}' of shape [{}] and {} bytes cannot be stored", shown, name,
           fmt::join(tensor.shape, ","), tensor.bytes.size());
    const size_t end = offset + tensor.bytes.size();
    header[name] = {{"dtype", dtype_name(tensor.dtype)},
                    {"shape", tensor.shape},
                    {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  const size_t data_start =
      (kLengthBytes + text.size() + kDataAlignment - 1) / kDataAlignment * kDataAlignment;
  text.resize(data_start - kLengthBytes, ' ');
  const uint64_t length = text.size();
  write(std::as_bytes(std::span(&length, 1)));
  write(std::as_bytes(std::span(text)));
  for (const auto& [name, tensor] : tensors) {
    if (before) before(name);
    write(tensor.bytes);
  }
}

}  // namespace

StoredTensor to_store(const Tensor& tensor) { return stored_as(tensor, Dtype::kF32); }
StoredTensor to_store(const IntTensor& tensor) { return stored_as(tensor, Dtype::kI32); }

std::string safetensors_content(const StoredTensors& tensors, const Metadata& metadata) {
  std::string content;
  write_pieces(tensors, metadata, "safetensors", {}, [&](std::span<const std::byte> piece) {
    content.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  });
  return content;
}

void write_safetensors(const PathAt& path, const StoredTensors& tensors, const Metadata& metadata,
                       const std::function<void(const std::string& name)>& before) {
  write_file_atomically(path, [&](const WritePiece& write) {
    write_pieces(tensors, metadata, path.shown().string(), before, write);
  });
}

SafetensorsFile::SafetensorsFile(const PathAt& path)
    : SafetensorsFile(std::make_shared<const FileDescriptor>("read", path, O_RDONLY),
                      path.shown().string()) {}

SafetensorsFile::SafetensorsFile(std::shared_ptr<const FileDescriptor> file, std::string shown)
    : SafetensorsFile(
          static_cast<uint64_t>(file->size()),
          [file](uint64_t place, std::span<std::byte> bytes) {
            return file->read_at(static_cast<int64_t>(place), bytes);
          },
          std::move(shown)) {}

SafetensorsFile::SafetensorsFile(std::string content, std::string shown)
    : SafetensorsFile(
          content.size(),
          [content = std::make_shared<const std::string>(content)](uint64_t place,
                                                                   std::span<std::byte> bytes) {
            return content->copy(reinterpret_cast<char*>(bytes.data()), bytes.size(), place);
          },
          std::move(shown)) {}

SafetensorsFile::SafetensorsFile(uint64_t size, ReadAt read_at, std::string shown)
    : read_at_(std::move(read_at)), shown_(std::move(shown)) {
  if (size < kLengthBytes) fail("{}: {} bytes are too few for a safetensors file", shown_, size);
  uint64_t length;
  const std::span<std::byte> length_bytes = std::as_writable_bytes(std::span(&length, 1));
  read_exactly(0, length_bytes);
  if (length > kMaxHeader)
    fail("{}: not a safetensors file, or damaged: its first bytes are no header's length", shown_);
  if (length > size - kLengthBytes)
    fail("{}: the header should have {} bytes, but only {} are there: the file is truncated",
         shown_, length, size - kLengthBytes);
  std::string text(length, '\0');
  read_exactly(kLengthBytes, std::as_writable_bytes(std::span(text)));
  head_crc32_ = crc32_of(std::as_bytes(std::span(text)), crc32_of(length_bytes));

  if (!text.starts_with('{'))
    fail("{}: byte {} does not begin a JSON object: not a safetensors file, or damaged", shown_,
         kLengthBytes);
  const json header = parse_json(text, shown_ + ": header", 3);  // levels: header, entry, shape
  const Data data{.begin = kLengthBytes + length, .bytes = size - kLengthBytes - length};
  for (const auto& [name, entry] : header.items()) {
    if (name != kMetadataKey) {
      tensors_.emplace(name,
                       parse_entry(entry, data, fmt::format("{}: tensor '{}'", shown_, name)));
      continue;
    }
    if (!entry.is_object()) fail("{}: {} is not an object", shown_, kMetadataKey);
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string())
        fail("{}: {}: the value of '{}' is not a string", shown_, kMetadataKey, key);
      metadata_.emplace(key, value.get<std::string>());
    }
  }
  check_coverage(tensors_, data, shown_);
}

void SafetensorsFile::read_exactly(uint64_t place, std::span<std::byte> bytes) const {
  if (read_at_(place, bytes) < bytes.size())
    fail("{}: the file has become shorter while it was read", shown_);
}

const TensorEntry& SafetensorsFile::find(std::string_view name) const {
  const auto row = tensors_.find(name);
  if (row == tensors_.end()) fail("{}: there is no tensor '{}'", shown_, name);
  return row->second;
}

void SafetensorsFile::read(std::string_view name, const Tensor& destination) const {
  const TensorEntry& entry = find(name);
  read_exactly(entry.begin, room_for(entry, name, destination, Dtype::kF32, shown_));
}

void SafetensorsFile::read(std::string_view name, const IntTensor& destination) const {
  const TensorEntry& entry = find(name);
  read_exactly(entry.begin, room_for(entry, name, destination, Dtype::kI32, shown_));
}

std::vector<std::byte> SafetensorsFile::bytes(std::string_view name) const {
  const TensorEntry& entry = find(name);
  std::vector<std::byte> bytes(entry.bytes);
  read_exactly(entry.begin, bytes);
  return bytes;
}

uint32_t SafetensorsFile::read_all(const TensorPlaces& places) const {
  constexpr uint64_t kPiece = uint64_t{1} << 20;  // bytes
  std::map<std::string_view, std::span<std::byte>> rooms;
  for (const auto& [name, place] : places)
    rooms[name] = room_for(find(name), name, place, Dtype::kF32, shown_);
  std::vector<std::byte> nowhere(kPiece);
  uint32_t crc32 = head_crc32_;
  for (const auto* row : in_order_of_place(tensors_)) {
    const auto& [name, entry] = *row;
    const auto room = rooms.find(name);
    for (uint64_t done = 0; done < entry.bytes; done += kPiece) {
      const uint64_t count = std::min(kPiece, entry.bytes - done);
      const std::span<std::byte> piece =
          room == rooms.end() ? std::span(nowhere).first(count) : room->second.subspan(done, count);
      read_exactly(entry.begin + done, piece);
      crc32 = crc32_of(piece, crc32);
    }
  }
  return crc32;
}

}  // namespace mmrec
