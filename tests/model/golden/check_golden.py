#!/usr/bin/env python3
"""Compares a program (build/bin/probe) with ground truth of make_golden.py or of others.

    check_golden.py build/bin/probe FILES..                  # files that there are
    check_golden.py build/bin/probe --sweep 40 --seed 1      # random sizes, switches and values

Prints, for each kind of tensor, the largest difference as a share of its bar, and a line for each
tensor beyond its bar. A file is `at float32's limit`, which is no failure, if make_golden.py in
float32 arithmetic is about as far off in every such tensor. Exits with 0 if no file failed.
In place of the program, `float64` checks make_golden.py itself against files of others.
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

PASSED, LIMIT, FAILED = VERDICTS = "passed", "at float32's limit", "failed"
# The error of float32 that excuses a program's, as a share of the latter: two orders of summation
# have errors of one size, but not the same ones.
EXCUSING_SHARE = 0.5
DRAWS = 16  # of float32's error


def differences(truth, got):
    """Returns {tensor's name: (largest difference, bar)}."""
    if truth.keys() != got.keys():
        raise ValueError(f"missing or not expected: {sorted(truth.keys() ^ got.keys())}")
    result = {}
    clip = 1 / max(1.0, truth["grad_norm"].item())
    for name, tensor in truth.items():
        want, have = tensor.double(), got[name].double()
        if want.shape != have.shape:
            raise ValueError(f"{name} is {list(have.shape)}, not {list(want.shape)}")
        difference = (want - have).abs()
        kind, _, parameter = name.partition(".")
        bar = 1e-5  # logits and losses
        if kind_of(name) == "inputs":
            bar = 0.0
        elif kind == "g":
            bar = 5e-5 * want.abs().max().item()
        elif kind == "w1":
            # Below that, rounding decides the sign of Adam's first step.
            difference = difference[clip * truth[f"g.{parameter}"].abs() > 1e-6]
            bar = 1e-6
        elif kind == "grad_norm":
            bar = 1e-5 * want.item()
        result[name] = (difference.max().item() if difference.numel() else 0.0, bar)
    return result


def kind_of(name):
    kind = name.partition(".")[0]
    return "inputs" if kind == "w" or kind in make_golden.INPUTS else kind


def judge(measured, float32):
    """Judges what differences() has found. `float32` returns float32_errors(); it is called if a
    tensor is beyond its bar. Returns the verdict and lines of text."""
    beyond = {name: m for name, m in measured.items() if not m[0] <= m[1]}  # a NaN is
    rounding, verdict, lines = float32() if beyond else {}, PASSED, []
    for name, (difference, bar) in beyond.items():
        own = rounding[name]
        excused = math.isfinite(difference) and own >= EXCUSING_SHARE * difference
        verdict = LIMIT if excused and verdict != FAILED else FAILED
        lines.append(
            f"  {name}: beyond the bar{', as float32 itself is' if excused else ''}"
            f" ({difference:.3g} against bar {bar:.3g}; float32 reference {own:.3g})"
        )
    return verdict, lines


def shares(measured):
    """Returns, for each kind of tensor, the largest difference as a share of its bar."""
    worst = {}
    for name, (difference, bar) in measured.items():
        share = 0.0 if difference == 0 else difference / bar if bar else math.inf
        share = math.inf if math.isnan(share) else share  # max() would lose a NaN
        worst[kind_of(name)] = max(worst.get(kind_of(name), 0.0), share)
    return (f"{kind} {share:.3f}" for kind, share in worst.items())


def load_inputs(file):
    """Returns the file's configuration and tensors."""
    with safe_open(file, "pt") as opened:
        return make_golden.FIELDS | json.loads(opened.metadata()["config"]), load_file(file)


def neighbour(inputs, generator):
    """Returns the inputs with every number moved to the next one in float32, up or down."""

    def move(x):
        return torch.nextafter(x, torch.randn(x.shape, generator=generator).sign() * math.inf)

    return {name: move(x) if x.is_floating_point() else x for name, x in inputs.items()}


def float32_errors(file):
    """Returns {tensor's name: how far off the reference is in float32 arithmetic} for the file's
    inputs. One error may be small by chance, so this is the largest of several, at neighbouring
    inputs. The truth is computed too: what is wrong in a file is no error of float32."""
    c, inputs = load_inputs(file)
    generator, largest = torch.Generator().manual_seed(1), {}
    for draw in range(DRAWS):
        at = neighbour(inputs, generator) if draw > 0 else inputs
        steps = (make_golden.training_step(c, at, t) for t in (torch.float64, torch.float32))
        for name, (difference, _) in differences(*steps).items():
            largest[name] = max(largest.get(name, 0.0), difference)
    return largest


def run(program, file):
    """Returns the tensors that `program` makes of the file's inputs."""
    if program == "float64":
        return make_golden.training_step(*load_inputs(file))
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.safetensors"
        done = subprocess.run([program, file, out], capture_output=True, text=True)
        if done.returncode != 0:
            raise ValueError(f"{program} exited with {done.returncode}: {done.stderr.strip()}")
        return load_file(out)


def check(program, file):
    """Compares, prints and returns the verdict."""
    try:
        measured = differences(load_file(file), run(program, file))
        verdict, lines = judge(measured, lambda: float32_errors(file))
    except (ValueError, OSError, SafetensorError) as error:
        print(f"{FAILED}: {file} {error}", flush=True)
        return FAILED
    print("\n".join([" ".join([f"{verdict}: {file}", *shares(measured)]), *lines]), flush=True)
    return verdict


def random_settings(draw):
    """Returns a configuration, B and T: sizes odd in every respect, any of the switches."""

    def size(most):  # every other one is small
        return draw.randint(1, draw.choice([3, most]))

    dim = 4 * draw.choice([65, *range(1, 41)])
    T = size(150)
    c = make_golden.FIELDS | {
        "vocab_size": draw.randint(2, draw.choice([5, 99, 1200])),
        "dim": dim,
        "layers": draw.randint(1, 3),
        "heads": draw.choice([dim // 4, *(h for h in range(1, dim + 1) if dim % h == 0)]),
        "mem_slots": 16 * size(64),
        "dpg_rank": size(140),
        "lambda_p": draw.choice([0.1, 1.5]),
        "chunk_size": draw.choice([0, 0, 1, draw.randint(1, T), T + draw.randint(0, 3)]),
        "memory": draw.choice(["random", "learned"]),
    }
    c |= {name: draw.random() < 0.5 for name in ("hem", "dpg", "uboo", "carry_state")}
    return c, size(9), T


def sweep(program, seeds):
    """Returns for each seed the verdict on the file made with it."""
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
    verdicts = [check(a.program, file) for file in a.files]
    verdicts += sweep(a.program, range(a.seed, a.seed + a.sweep))
    counts = (f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS)
    print(f"{len(verdicts)} files: {', '.join(counts)}")
    sys.exit(FAILED in verdicts)


if __name__ == "__main__":
    main()
