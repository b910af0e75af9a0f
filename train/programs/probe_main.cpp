#include "runtime/threads.h"
#include "train/programs/command_line.h"
#include "train/run/probe.h"

int main(int argc, char** argv) {
  mmrec::Program program("probe",
                         "Runs one training step on the weights and tokens of a safetensors file "
                         "and writes everything that came of it.",
                         "probe tests/model/golden/base.safetensors /tmp/out.safetensors");
  std::string input, output;
  program.app()
      .add_option("input", input,
                  "safetensors file: w.NAME, memory, memory_v, ids, targets; metadata: config")
      ->required();
  program.app()
      .add_option(
          "output", output,
          "what to write: the same, with logits, token_loss, loss, grad_norm, g.NAME, w1.NAME")
      ->required();
  return program.run(argc, argv,
                     [&] { mmrec::run_with_threads([&] { mmrec::probe(input, output); }); });
}
