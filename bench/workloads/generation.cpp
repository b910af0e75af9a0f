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
  }

  Parameters parameters;
  Model model;
  IntTensor ids;
  Tensor logits;
};

/// Number of floats that a token reads: all parameters but the rows p and e of the fused
/// projection, which feed nothing, and the slots of the drawn memory.
int64_t weights_read(const Config& config) {
  const int64_t D = config.dim,
                unused = (MmrecBlock::kProjections - MmrecBlock::kProjected) * D * (D + 1),
                slots = 2 * D * top_slots(config);
  return parameter_count(parameter_table(config)) + config.layers * (slots - unused);
}

Workload token(const Config& config, const char* name, int B) {
  return {.op = "generation",
          .pass = {"", name},
          .sizes = {B},
          .flops = B * training_flops(config, 1) / 3,
          .bytes = 4. * static_cast<double>(weights_read(config)),
          .tokens = 1. * B,
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

/// Reads as many weights once, split over the threads: no token can take less.
Workload reading(const Config& config, const char* name, int B) {
  Workload limit = token(config, name, B);
  limit.flops = 0;
  limit.prepare = [=](Operands& o) {
    constexpr int kUnit = 128;  // of read_in_parts
    const int count = static_cast<int>(weights_read(config) / kUnit * kUnit);
    const Tensor weights = o.uniform({count});
    return Invocation{.run = [=] { read_in_parts(weights.data(), count, num_threads(), 1); }};
  };
  return limit;
}

}  // namespace

void add_generation(Cases& cases) {
  for (const char* name : {"tiny", "mini"}) {
    Config config = preset(name);
    config.vocab_size = kVocabulary;
    for (const int B : {1, 4, 16}) {
      cases.add_model(token(config, name, B), "model");
      cases.add_limit(reading(config, name, B), "weights");
    }
  }
}

}  // namespace mmrec::bench
