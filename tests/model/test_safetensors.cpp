#include "model/safetensors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <span>
#include <vector>

#include "support/atomic_file.h"
#include "support/checksum.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_directory.h"

namespace mmrec {
namespace {

using test::expect_error;
using test::TemporaryDirectory;

constexpr size_t kLengthBytes = 8;

/// Returns a file with exactly this header and this number of data bytes.
std::string make_file(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), kLengthBytes);
  return file + header + std::string(data_bytes, '\1');
}

/// Writes without the flush of write_file_atomically, which is slow for thousands of files.
void put(const std::filesystem::path& path, std::string_view content) {
  std::ofstream(path, std::ios::binary) << content;
}

void expect_refused(const std::string& content, std::initializer_list<std::string_view> parts) {
  const TemporaryDirectory directory;
  put(directory / "bad.safetensors", content);
  SCOPED_TRACE(content.substr(kLengthBytes));
  expect_error([&] { SafetensorsFile(directory / "bad.safetensors"); }, {"bad.safetensors"});
  expect_error([&] { SafetensorsFile(directory / "bad.safetensors"); }, parts);
}

/// A small file with one tensor of each kind.
struct Small {
  std::vector<float> weight = {1.5f,   -0.f,  std::numeric_limits<float>::infinity(),
                               1e-40f, 3e38f, std::nanf("")};
  std::vector<int32_t> ids = {0, -1, 2147483647, 7};
  float step = 3.f;

  Tensor weight_view() { return {weight.data(), {2, 3}}; }
  IntTensor ids_view() { return {ids.data(), {4}}; }
  StoredTensors stored() {
    return {{"weight", to_store(weight_view())},
            {"ids", to_store(ids_view())},
            {"step", to_store(Tensor(&step, std::initializer_list<int>{}))},
            {"empty", to_store(Tensor(nullptr, {0, 5}))}};
  }
};

TEST(Safetensors, InMemoryAsInAFile) {
  const TemporaryDirectory directory;
  Small small;
  const Metadata metadata = {{"a", "b"}};
  write_safetensors(directory / "small", small.stored(), metadata);
  const std::string content = safetensors_content(small.stored(), metadata);
  EXPECT_EQ(content, read_file(directory / "small"));

  const SafetensorsFile file(content, "in memory");
  EXPECT_EQ(file.metadata(), metadata);
  Small copy;
  copy.ids.assign(4, 0);
  file.read("ids", copy.ids_view());
  EXPECT_EQ(copy.ids, small.ids);
  EXPECT_EQ(file.read_all({}), crc32_of(std::as_bytes(std::span(content))));
  expect_error([&] { SafetensorsFile(content.substr(0, content.size() - 1), "in memory"); },
               {"in memory", "truncated"});
}

TEST(Safetensors, RoundTripKeepsEveryBit) {
  const TemporaryDirectory directory;
  Small small;
  const Metadata metadata = {{"config", R"({"dim": 32, "text": "\"quoted\" é"})"}, {"", ""}};
  write_safetensors(directory / "small", small.stored(), metadata);

  const SafetensorsFile file(directory / "small");
  EXPECT_EQ(file.metadata(), metadata);
  ASSERT_EQ(file.tensors().size(), 4u);
  Small copy;
  copy.weight.assign(6, 0.f);
  copy.ids.assign(4, 0);
  copy.step = 0.f;
  file.read("weight", copy.weight_view());
  file.read("ids", copy.ids_view());
  file.read("step", Tensor(&copy.step, std::initializer_list<int>{}));
  file.read("empty", Tensor(nullptr, {0, 5}));
  EXPECT_EQ(std::memcmp(copy.weight.data(), small.weight.data(), sizeof(float) * 6), 0);
  EXPECT_EQ(copy.ids, small.ids);
  EXPECT_EQ(copy.step, small.step);
  EXPECT_EQ(file.find("weight").shape, (std::vector<int64_t>{2, 3}));
  EXPECT_TRUE(file.find("step").shape.empty());
}

TEST(Safetensors, EmptyFileRoundTrip) {
  const TemporaryDirectory directory;
  write_safetensors(directory / "none", {});
  const SafetensorsFile file(directory / "none");
  EXPECT_TRUE(file.tensors().empty());
  EXPECT_TRUE(file.metadata().empty());
}

TEST(Safetensors, DataIsAligned) {
  const TemporaryDirectory directory;
  float value = 1.f;
  for (size_t n = 1; n < 70; ++n) {
    write_safetensors(directory / "file", {{std::string(n, 'n'), to_store(Tensor(&value, {1}))}});
    EXPECT_EQ((read_file(directory / "file").size() - sizeof value) % 64, 0u)
        << "name of " << n << " characters";
  }
}

/// Bytes built from the format's documentation, not with this writer.
TEST(Safetensors, ReadsAnyOrderAndUnalignedData) {
  const TemporaryDirectory directory;
  const std::string header =
      R"({"b":{"data_offsets":[4,12],"shape":[2],"dtype":"I32"},"__metadata__":{"k":"v"},)"
      R"("a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}} )";
  std::string content = make_file(header, 12);
  const float a = 2.5f;
  std::memcpy(content.data() + kLengthBytes + header.size(), &a, sizeof a);
  put(directory / "file", content);
  const SafetensorsFile file(directory / "file");
  float got_a = 0;
  int32_t got_b[2] = {};
  file.read("a", Tensor(&got_a, {1, 1}));
  file.read("b", IntTensor(got_b, {2}));
  EXPECT_EQ(got_a, a);
  EXPECT_EQ(got_b[1], 0x01010101);
  EXPECT_EQ(file.metadata().at("k"), "v");
}

TEST(Safetensors, RefusesEveryTruncation) {
  const TemporaryDirectory directory;
  Small small;
  write_safetensors(directory / "file", small.stored(), {{"k", "v"}});
  const std::string content = read_file(directory / "file");
  for (size_t size = 0; size < content.size(); ++size) {
    put(directory / "cut", content.substr(0, size));
    ASSERT_THROW(SafetensorsFile(directory / "cut"), Error)
        << size << " of " << content.size() << " bytes";
  }
  put(directory / "longer", content + '\0');
  expect_error([&] { SafetensorsFile(directory / "longer"); },
               {"longer", "1 bytes after the last tensor"});
}

/// A flipped bit gives an error or a consistent file, never a crash.
TEST(Safetensors, SurvivesEveryFlippedHeaderBit) {
  const TemporaryDirectory directory;
  float values[2] = {1.f, 2.f};
  write_safetensors(directory / "file",
                    {{"a", to_store(Tensor(values, {1}))}, {"b", to_store(Tensor(values, {2}))}});
  const std::string content = read_file(directory / "file");
  int refused = 0;
  for (size_t byte = 0; byte < content.size() - 12; ++byte)
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = content;
      flipped[byte] = static_cast<char>(flipped[byte] ^ (1 << bit));
      put(directory / "flipped", flipped);
      try {
        const SafetensorsFile file(directory / "flipped");
        for (const auto& [name, tensor] : file.tensors()) EXPECT_EQ(tensor.bytes % 4, 0u) << name;
      } catch (const Error&) {
        ++refused;
      }
    }
  EXPECT_GT(refused, 500);
}

TEST(Safetensors, RefusesInvalidHeaders) {
  const auto entry = [](const std::string& fields) {
    return make_file("{\"w\":{" + fields + "}}", 8);
  };
  expect_refused(make_file("", 0), {"byte 8"});
  expect_refused(make_file("[1]", 0), {"byte 8"});
  expect_refused(make_file("{\"w\":", 0), {"header", "column 6"});
  expect_refused(make_file("{\"w\":3}", 8), {"'w'", "expected an object"});
  expect_refused(entry(R"("dtype":"F32","shape":[2])"), {"'w'", "data_offsets"});
  expect_refused(entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,8],"extra":1)"),
                 {"'w'", "expected an object of"});
  expect_refused(entry(R"("dtype":"BF16","shape":[4],"data_offsets":[0,8])"),
                 {"'w'", "BF16", "F32 and I32"});
  expect_refused(entry(R"("dtype":32,"shape":[2],"data_offsets":[0,8])"), {"'w'", "dtype 32"});
  expect_refused(entry(R"("dtype":"F32","shape":2,"data_offsets":[0,8])"), {"'w'", "not a list"});
  expect_refused(entry(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"),
                 {"'w'", "-2 is not a size"});
  expect_refused(entry(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"),
                 {"'w'", "2.0 is not a size"});
  expect_refused(entry(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"),
                 {"'w'", "does not take the 8 bytes"});
  expect_refused(entry(R"("dtype":"F32","shape":[4611686018427387904,2],"data_offsets":[0,8])"),
                 {"'w'", "does not take"});
  expect_refused(entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,8,9])"),
                 {"'w'", "pair of byte offsets"});
  expect_refused(entry(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"),
                 {"'w'", "before its start"});
  expect_refused(entry(R"("dtype":"F32","shape":[3],"data_offsets":[0,12])"),
                 {"'w'", "only 8", "truncated"});
  expect_refused(entry(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])"), {"'w'", "hole"});
  expect_refused(entry(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])"),
                 {"4 bytes after the last tensor"});
  expect_refused(entry(R"("dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8])"),
                 {"'dtype' occurs twice"});
  expect_refused(entry(R"("dtype":"F32","shape":[[2]],"data_offsets":[0,8])"), {"deeper"});
  const std::string tensor = R"("w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  expect_refused(make_file("{" + tensor + "," + tensor + "}", 8), {"'w' occurs twice"});
  expect_refused(
      make_file("{" + tensor + R"(,"v":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8),
      {"'v'", "overlap"});
  expect_refused(make_file("{" + tensor + R"(,"__metadata__":{"k":1}})", 8),
                 {"__metadata__", "'k' is not a string"});
  expect_refused(make_file("{" + tensor + R"(,"__metadata__":"k"})", 8), {"__metadata__"});
  expect_refused(std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10), {"not a safetensors file"});
  expect_refused(std::string("\x40\x42\x0f\0\0\0\0\0{}", 10), {"1000000 bytes", "truncated"});
}

TEST(Safetensors, ReadingChecksNameTypeAndShape) {
  const TemporaryDirectory directory;
  Small small;
  write_safetensors(directory / "file", small.stored());
  const SafetensorsFile file(directory / "file");
  expect_error([&] { file.find("missing"); }, {"file", "'missing'"});
  expect_error([&] { file.read("ids", Tensor(small.weight.data(), {4})); },
               {"file", "'ids' is I32", "expected F32"});
  expect_error([&] { file.read("weight", Tensor(small.weight.data(), {3, 2})); },
               {"'weight' has shape [2,3]", "expected [3,2]"});
  expect_error([&] { file.read("weight", small.weight_view().columns(0, 2)); }, {"strided"});
  expect_error([&] { SafetensorsFile(directory / "nothing"); }, {"cannot read", "nothing"});
}

TEST(Safetensors, ReadAllReturnsTheFilesChecksum) {
  const TemporaryDirectory directory;
  Small small;
  std::vector<float> large(700'000);  // more than one piece
  for (size_t i = 0; i < large.size(); ++i) large[i] = static_cast<float>(i);
  StoredTensors stored = small.stored();
  stored["large"] = to_store(Tensor(large.data(), {700, 1000}));
  write_safetensors(directory / "file", stored, {{"k", "v"}});
  const std::string content = read_file(directory / "file");
  const SafetensorsFile file(directory / "file");
  std::vector<float> weight(6), all(large.size());
  const TensorPlaces places = {{"large", {all.data(), {700, 1000}}},
                               {"weight", {weight.data(), {2, 3}}}};
  EXPECT_EQ(file.read_all(places), crc32_of(content));
  EXPECT_EQ(all, large);
  EXPECT_EQ(std::memcmp(weight.data(), small.weight.data(), sizeof(float) * 6), 0);
  EXPECT_EQ(file.read_all({}), crc32_of(content)) << "what has no place is read too";

  // Nothing is written if a destination does not fit.
  std::ranges::fill(all, 0.f);
  expect_error(
      [&] {
        file.read_all({{"large", {all.data(), {700, 1000}}}, {"weight", {weight.data(), {3, 2}}}});
      },
      {"'weight' has shape [2,3]"});
  expect_error(
      [&] {
        file.read_all({{"large", {all.data(), {700, 1000}}}, {"missing", {weight.data(), {2, 3}}}});
      },
      {"no tensor 'missing'"});
  EXPECT_EQ(all, std::vector<float>(large.size()));

  // The same open file after it was altered and cut.
  std::fstream(directory / "file", std::ios::binary | std::ios::in | std::ios::out)
      .seekp(-1, std::ios::end)
      .put('x');
  EXPECT_NE(file.read_all(places), crc32_of(content));
  std::filesystem::resize_file(directory / "file", content.size() - 4);
  expect_error([&] { file.read_all(places); }, {"file", "shorter"});
}

TEST(Safetensors, WritingChecksItsArguments) {
  const TemporaryDirectory directory;
  Small small;
  StoredTensor wrong = to_store(small.weight_view());
  wrong.shape = {2, 2};
  expect_error([&] { write_safetensors(directory / "file", {{"w", wrong}}); },
               {"'w'", "[2,2]", "24 bytes"});
  expect_error(
      [&] {
        write_safetensors(directory / "file", {{"__metadata__", to_store(small.weight_view())}});
      },
      {"__metadata__"});
  EXPECT_FALSE(std::filesystem::exists(directory / "file"));
}

}  // namespace
}  // namespace mmrec
