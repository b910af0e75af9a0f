#!/usr/bin/env python3
"""Prints at which step PyTorch's training leaves other bits on one CPU than on another.

Trains the GPT of gpt.py from the same seed in processes of which each is told what the CPU has, and
compares losses and weights after each step. Run it with .venv-rivals/bin/python.
"""

import argparse
import hashlib
import os
import subprocess
import sys

AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
# In what a second run differs from a first one: what PyTorch is told, and what its libraries are.
RUNS = {
    "in nothing": {},
    "ATEN_CPU_CAPABILITY=avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    " ".join(f"{name}={value}" for name, value in AVX2.items()): AVX2,
}


def train(steps, seed):
    """Print the loss and the SHA-256 of the weights after each step."""
    import numpy as np
    import torch

    import gpt
    import parameters
    import torch_gpt

    T = 128
    torch.manual_seed(seed)
    config = parameters.PRESETS["tiny"]
    training = torch_gpt.Training(
        config,
        gpt.initial(config, T, seed),
        *parameters.batch(config, 4, T),
        parameters.DROPOUT,
        torch_gpt.loss,
    )
    for step in range(1, steps + 1):
        ids, targets = parameters.batch(config, 4, T, seed + step)
        training.ids, training.targets = torch.tensor(ids).long(), torch.tensor(targets).long()
        loss = training.step().item()
        weights = hashlib.sha256()
        for weight in training.weights.values():
            weights.update(np.ascontiguousarray(weight.detach().numpy()))
        print(loss.hex(), weights.hexdigest())


def results(options, environment):
    """Return loss and weights after each step, of a process with these variables."""
    command = [sys.executable, __file__, "--steps", str(options.steps), "--seed", str(options.seed)]
    done = subprocess.run(
        [*command, "--run"], env=os.environ | environment, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        sys.exit(f"same_bits: the training failed with status {done.returncode}")
    return [line.split() for line in done.stdout.splitlines()]


def first_difference(one, other, of):
    """Return the first step after which one of its results differs, in words."""
    for step, (a, b) in enumerate(zip(one, other, strict=True), 1):
        if a[of] != b[of]:
            return f"step {step}"
    return "none"


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=20)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    options = options.parse_args()
    if options.run:
        return train(options.steps, options.seed)
    first = results(options, {})
    for name, environment in RUNS.items():
        other = results(options, environment)
        print(
            f"{name}: the first other loss: {first_difference(first, other, 0)}, "
            f"the first other weights: {first_difference(first, other, 1)}"
        )


if __name__ == "__main__":
    main()
