#include <memory>

#include "bench/harness/read_stream.h"
#include "bench/workloads/workloads.h"
#include "model/blocks/mmrec_block.h"
#include "model/memory.h"
#include "model/model.h"
#include "runtime/threads.h"

namespace mmrec::bench {

namespace {

/// A vocabulary of characters. With 5000 tokens, half of a tiny model would be its head.
constexpr int kVocabulary = 80;

/// A model that reads one token of each sequence at a time, always the same.
struct Generation {
  Generation(const Config& config, int B, uint64_t seed, const IntTensor& ids, const Tensor& logits)
      : parameters(config),
        model(config, config.vocab_size, parameters, 1, B, Model::Mode::kGenerating, seed,
              precision()),
        ids(ids),
        logits(logits) {
    parameters.initialise(seed);
    round_weights(config, parameters, precision());
    model.pack();
  }

  Parameters parameters;
  Model model;
  IntTensor ids;
  Tensor logits;
};

/// Bytes of weights that a token reads in a precision: of all parameters but the rows p and e of
/// the fused projection, which feed nothing, and of the slots of the drawn memory. Matrices are
/// narrow, and have a scale for each output with int8; all others are floats.
double bytes_of_weights(const Config& config, Precision precision) {
  const int64_t D = config.dim;
  int64_t floats = 2 * D * top_slots(config) * config.layers, narrow = 0;
  for (const Parameter& parameter : parameter_table(config)) {
    int64_t rows = parameter.shape[0];
    if (parameter.name.ends_with("W_fused.weight") || parameter.name.ends_with("W_fused.bias"))
      rows = MmrecBlock::kProjected * D;
    const bool matrix = parameter.shape.size() == 2;
    if (precision == Precision::kInt8 && matrix) floats += rows;  // scales
    (matrix ? narrow : floats) += matrix ? rows * parameter.shape[1] : rows;
  }
  const double bytes = precision == Precision::kBf16 ? 2 : precision == Precision::kInt8 ? 1 : 4;
  return 4. * static_cast<double>(floats) + bytes * static_cast<double>(narrow);
}

Workload token(const Config& config, const char* name, int B, Precision precision) {
  return {.op = "generation",
          .pass = {"", name},
          .sizes = {B},
          .flops = B * training_flops(config, 1) / 3,
          .bytes = bytes_of_weights(config, precision),
          .tokens = 1. * B,
          .precision = precision,
          .prepare = [=](Operands& o) -> Invocation {
            const IntTensor ids = o.ids(B, config.vocab_size).reshape({1, B});
            const Tensor logits = o.output({1, B, config.vocab_size});
            if (!ids.data()) return {};
            const auto generation = std::make_shared<Generation>(config, B, o.seed(), ids, logits);
            return {.run = [generation] {
              generation->model.logits(generation->ids, generation->logits);
            }};
          }};
}

/// Reads as many bytes once, split over the threads: no token can take less.
Workload reading(const Workload& token) {
  Workload limit = token;
  limit.flops = 0;
  limit.prepare = [floats = static_cast<int>(token.bytes / 4)](Operands& o) {
    constexpr int kUnit = 128;  // of read_in_parts
    const int count = floats / kUnit * kUnit;
    const Tensor weights = o.uniform({count});
    return Invocation{.run = [=] { read_in_parts(weights.data(), count, num_threads(), 1); }};
  };
  return limit;
}

}  // namespace

void add_generation(Cases& cases) {
  for (const char* name : {"tiny", "mini", "small"}) {
    Config config = preset(name);
    config.vocab_size = kVocabulary;
    for (const int B : {1, 4, 16})
      for (const Precision precision : precisions()) {
        const Workload work = token(config, name, B, precision);
        cases.add(work, "model");
        cases.add_limit(reading(work), "weights");
      }
  }
}

}  // namespace mmrec::bench
