#include <algorithm>
#include <vector>

#include "model/safetensors.h"
#include "support/checksum.h"
#include "tests/fuzz/fuzz_target.h"

using namespace mmrec;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::MemoryFile input;
  input.write(fuzz::text_of(data, size));
  fuzz::accepts([&] {
    const SafetensorsFile file(input.path());
    uint64_t bytes = 0;
    for (const auto& [name, tensor] : file.tensors()) {
      bytes += tensor.bytes;
      if (tensor.dtype != Dtype::kF32 || tensor.shape.size() != 1) continue;
      std::vector<float> copy(tensor.bytes / sizeof(float));
      file.read(name, Tensor(copy.data(), {static_cast<int>(copy.size())}));
      fuzz::require(std::ranges::equal(std::as_bytes(std::span(copy)), file.bytes(name)),
                    "a tensor is read as it is stored");
    }
    fuzz::require(file.read_all({}) == crc32_of(fuzz::text_of(data, size)),
                  "every byte is read once");
    fuzz::require(bytes < size, "the tensors are within the file");
  });
  return 0;
}
