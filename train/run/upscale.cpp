#include "train/run/upscale.h"

#include "support/error.h"
#include "train/run/metrics.h"

namespace mmrec {

Growth read_grown_weights(const Checkpoint& checkpoint, const Config& to, GrowthRule rule,
                          Parameters& grown) {
  if (checkpoint.tokenizer.size() > to.vocab_size)
    fail_usage("vocab_size {} is too small for the {} tokens of {}", to.vocab_size,
               checkpoint.tokenizer.size(), checkpoint.folder.string());
  check_growth(checkpoint.config, to, rule);
  Parameters old(checkpoint.config, Parameters::Arrays::kWeights);
  checkpoint.read_weights(old);
  return grow(checkpoint.config, old, to, grown, rule);
}

Growth upscale(const Checkpoint& checkpoint, const Config& to, GrowthRule rule, uint64_t seed,
               const std::filesystem::path& out) {
  if (exists(out))
    fail_usage("--out {}: there is something already; choose another name", out.string());
  check_config(to);
  Parameters grown(to);
  grown.initialise(seed);
  Growth growth = read_grown_weights(checkpoint, to, rule, grown);
  make_directory(std::filesystem::absolute(out).lexically_normal().parent_path());
  save_checkpoint(out, to, checkpoint.tokenizer, grown,
                  {.step = checkpoint.state.step,
                   .tokens = checkpoint.state.tokens,
                   .seed = checkpoint.state.seed,
                   .validation_loss = MetricsRow::kNone});
  return growth;
}

}  // namespace mmrec
