#!/usr/bin/env python3
"""Compares a program (build/bin/probe) with ground truth of make_golden.py or of others.

    check_golden.py build/bin/probe FILES..                  # files that there are
    check_golden.py build/bin/probe --sweep 40 --seed 1      # random sizes, switches and values

Prints, for each kind of tensor, the largest difference as a share of what is allowed. In place of
the program, `float64` checks make_golden.py itself against files of others; `float32` shows what
rounding alone does, and is run too where a program fails.
"""

import argparse
import json
import math
import pathlib
import random
import subprocess
import sys
import tempfile

import make_golden
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file


def compare(truth, got):
    """Returns {kind of tensor: (largest difference / what is allowed, tensor's name)}."""
    if truth.keys() != got.keys():
        raise ValueError(f"missing or not expected: {sorted(truth.keys() ^ got.keys())}")
    worst = {}
    clip = min(1.0, 1 / truth["grad_norm"].item())
    for name, tensor in truth.items():
        want, have = tensor.double(), got[name].double()
        if want.shape != have.shape:
            raise ValueError(f"{name} is {list(have.shape)}, not {list(want.shape)}")
        difference = (want - have).abs()
        kind, _, parameter = name.partition(".")
        allowed = 1e-5  # logits and losses
        if kind == "w" or kind in make_golden.INPUTS:
            kind, allowed = "inputs", 0
        elif kind == "g":
            allowed = 5e-5 * want.abs().max().item()
        elif kind == "w1":
            # Below that, rounding decides the sign of Adam's first step.
            difference = difference[clip * truth[f"g.{parameter}"].abs() > 1e-6]
            allowed = 1e-6
        elif kind == "grad_norm":
            allowed = 1e-5 * want.item()
        largest = difference.max().item() if difference.numel() else 0
        share = 0.0 if largest == 0 else largest / allowed if allowed else math.inf
        if math.isnan(share):  # worse than any number; max() would lose it
            share = math.inf
        worst[kind] = max(worst.get(kind, (0.0, name)), (share, name))
    return worst


def run(program, file):
    """Returns the tensors that `program` makes of the file's inputs."""
    if program in ("float32", "float64"):
        with safe_open(file, "pt") as opened:
            c = make_golden.FIELDS | json.loads(opened.metadata()["config"])
        return make_golden.training_step(c, load_file(file), getattr(torch, program))
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.safetensors"
        done = subprocess.run([program, file, out], capture_output=True, text=True)
        if done.returncode != 0:
            raise ValueError(f"{program} exited with {done.returncode}: {done.stderr.strip()}")
        return load_file(out)


def check(program, file):
    """Compares and prints a line. Returns whether everything is within what is allowed."""
    try:
        worst = compare(load_file(file), run(program, file))
    except (ValueError, OSError, SafetensorError) as error:
        print(f"FAILED {file} {error}", flush=True)
        return False
    passed = all(share <= 1 for share, _ in worst.values())
    shares = (
        f"{kind} {share:.3f}" + ("" if share <= 1 else f" ({name})")
        for kind, (share, name) in worst.items()
    )
    print("passed" if passed else "FAILED", program, file, *shares, flush=True)
    if not passed and program not in ("float32", "float64"):
        check("float32", file)
    return passed


def random_settings(draw):
    """Returns a configuration, B and T: sizes odd in every respect, any of the switches."""
    dim = draw.choice([4, 12, 20, 36, 100, 132, 260])
    T = draw.choice([1, 2, 7, 33, 130])
    c = make_golden.FIELDS | {
        "vocab_size": draw.choice([2, 7, 130, 1001]),
        "dim": dim,
        "layers": draw.randint(1, 3),
        "heads": draw.choice([h for h in range(1, dim + 1) if dim % h == 0]),
        "mem_slots": draw.choice([16, 48, 1024]),
        "dpg_rank": draw.choice([1, 5, 16, 128]),
        "lambda_p": draw.choice([0.1, 1.5]),
        "chunk_size": draw.choice([0, 0, 1, 2, 5, T, T + 3]),
        "memory": draw.choice(["random", "learned"]),
    }
    c |= {name: draw.random() < 0.5 for name in ("hem", "dpg", "uboo", "carry_state")}
    return c, draw.choice([1, 2, 3, 5, 9]), T


def sweep(program, seeds):
    """Returns for each seed whether the program passes on the file made with it."""
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            c, B, T = random_settings(random.Random(seed))
            changed = {n: value for n, value in c.items() if value != make_golden.FIELDS[n]}
            print(f"seed {seed}: B {B}, T {T}, {json.dumps(changed)}")
            file = pathlib.Path(folder) / f"{seed}.safetensors"
            make_golden.make(file, c, B, T, seed)
            yield check(program, file)
            file.unlink()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("program")
    parser.add_argument("files", nargs="*")
    parser.add_argument("--sweep", type=int, default=0, metavar="N", help="N random files")
    parser.add_argument("--seed", type=int, default=1, help="of the first of them")
    a = parser.parse_args()
    if not a.files and a.sweep <= 0:
        parser.error("name files, or give --sweep N")
    passed = [check(a.program, file) for file in a.files]
    passed += sweep(a.program, range(a.seed, a.seed + a.sweep))
    print(f"{passed.count(True)} of {len(passed)} files passed")
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
