#!/usr/bin/env python3
"""Times MM-Rec and its rivals on the same work in turn, round after round, and prints one table."""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

import gpt
import parameters
import rival
import workloads

ROOT = pathlib.Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests/model/golden/base.safetensors"
# name -> module, and the Python of its environment
RIVALS = {
    "PyTorch": ("rival_torch", sys.executable),
    "torch.compile": ("rival_compile", sys.executable),
    "JAX": ("rival_jax", sys.executable),
    "JAX-0.4.31": ("rival_jax", ROOT / ".venv-old-jax/bin/python"),
}
# setup.sh has no old JAX for Python 3.13
INSTALLED = [name for name, (_, python) in RIVALS.items() if os.access(python, os.X_OK)]
SETTLE_SECONDS = 0.3  # the frameworks' threads spin for a while after their last work


def stop(message):
    sys.exit(f"bench-rivals: {message}")


def note(message):
    print(message, file=sys.stderr, flush=True)


class Ours:
    """Our program build/bin/bench, started once per turn."""

    def __init__(self, bench):
        self.bench = bench
        self.peaks = {}  # FLOP/s of multiply-adds, the best of all turns; "bf16": of bfloat16
        self.flops = {}  # row -> FLOPs of a call
        if not os.access(bench, os.X_OK):
            stop(f"there is no {bench}; 'make build' makes it")
        self.names = self.run("--list").split("\n")

    def run(self, *arguments):
        done = subprocess.run([self.bench, *arguments], capture_output=True, text=True)
        if done.returncode:
            stop(f"{self.bench} {' '.join(arguments)} failed:\n{done.stderr}")
        return done.stdout

    def variants(self, workload):
        return [name for name in self.names if re.search(workload.pattern, name)]

    def time(self, name, seconds):
        """Return samples in seconds per call. A sample is as long as the rivals' samples."""
        repetitions = max(1, round(seconds / rival.SAMPLE_SECONDS))
        report = json.loads(
            self.run(
                f"--benchmark_filter=^{name}$",
                "--benchmark_format=json",
                f"--benchmark_repetitions={repetitions}",
                f"--benchmark_min_time={rival.SAMPLE_SECONDS}",
            )
        )
        for rate, unit in re.findall(r"([\d.]+) GFLOP/s \((\w+)\)", report["context"]["peak"]):
            kind = "bf16" if unit == "bf16" else "f32"
            self.peaks[kind] = max(self.peaks.get(kind, 0), 1e9 * float(rate))
        scale = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1}
        rows = [row for row in report["benchmarks"] if row["run_type"] == "iteration"]
        samples = [row["real_time"] * scale[row["time_unit"]] for row in rows]
        self.flops[name] = 1e9 * rows[0]["GFLOP/s"] * samples[0]
        return samples


class Process:
    """The process of one rival. It waits for requests between its turns."""

    def __init__(self, name):
        self.name = name
        program = pathlib.Path(__file__).with_name("rival.py")
        module, python = RIVALS[name]
        if name not in INSTALLED:
            stop(f"there is no {python}: bench/rivals/setup.sh installs {name}, if this Python can")
        self.process = subprocess.Popen(
            [python, program, module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.version, self.forms = self.ask("describe")

    def ask(self, request, *arguments):
        """Return the rival's answer. Raise a RuntimeError with the rival's message if it fails."""
        try:
            print(json.dumps([request, arguments]), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"{self.name}'s process ended with status {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]


class Contestant:
    """A contestant of a workload: one of our variants, or one form of a rival."""

    def __init__(self, name, form, time):
        self.name, self.form, self.time = name, form, time
        self.samples = []
        self.speed = {}  # of a training step, beside its time

    best = property(lambda self: min(self.samples))
    median = property(lambda self: statistics.median(self.samples))

    def times_of(self, ours):
        """Return the time in multiples of our time: of the best and of the medians."""
        return self.best / ours.best, self.median / ours.median


def contestants(workload, ours, rivals):
    """Prepare the contestants. Leave out, with a note, those that fail to prepare."""
    found = [
        Contestant("ours", name, lambda seconds, name=name: ours.time(name, seconds))
        for name in ours.variants(workload)
    ]
    if not found:
        stop(f"{ours.bench} has no row {workload.pattern}")
    note(
        f"{workload.name}: preparing"
        f"{' (torch.compile takes a minute)' if workload.kind == 'train' else ''}"
    )
    for process in rivals:
        process.ask("clear")
        for form in process.forms.get(workload.pass_, []):
            try:
                process.ask(
                    "prepare", workload.kind, workload.label, workload.sizes, form, workload.bf16
                )
            except RuntimeError as error:
                note(f"{process.version} is left out of {workload.name}, {form}: {error}")
                continue
            found.append(
                Contestant(
                    process.name,
                    form,
                    lambda seconds, process=process, form=form: process.ask("time", form, seconds),
                )
            )
    return found


def time_in_rounds(found, rounds, seconds):
    for _ in range(rounds):
        for contestant in found:
            time.sleep(SETTLE_SECONDS)
            contestant.samples += contestant.time(seconds)


def add_speeds(workload, found, ours):
    """Add tokens/s and the part of the peak, at the best time."""
    B, T = workload.sizes
    of_gpt = gpt.flops(parameters.PRESETS[workload.label], B, T)
    peak = ours.peaks.get("bf16" if workload.bf16 else "f32", ours.peaks["f32"])
    for contestant in found:
        flops = of_gpt if contestant.form == gpt.FORM else ours.flops[workload.name]
        contestant.speed = {
            "flops": flops,
            "tokens_per_second": B * T / contestant.best,
            "part_of_peak": flops / contestant.best / peak,
        }


def print_head(rivals):
    print(
        f"\n{'':<28}{'':<13}{'ours':>21}" + "".join(f"{process.version:>36}" for process in rivals)
    )
    print(
        f"{'':<28}{'':<13}{'best (median)':>21}"
        + f"{'best (median)   times ours':>36}" * len(rivals),
        flush=True,
    )


def print_rows(workload, found, rivals):
    """Print a row and, if there are, speeds for each form. Return our fastest contestant."""
    ours = min((c for c in found if c.name == "ours"), key=lambda c: c.best)
    scale, unit = (1e3, "ms") if ours.best > 1e-3 else (1e6, "us")
    number = lambda seconds: f"{scale * seconds:.{max(0, 4 - len(str(int(scale * seconds))))}f}"
    cell = lambda c: f"{number(c.best)} ({number(c.median)})"
    speed = lambda c: (
        f"{c.speed['tokens_per_second']:,.0f} tokens/s  {c.speed['part_of_peak']:.0%}"
        if c.speed
        else ""
    )
    for form in workload.forms:
        row = f"{workload.name:<28}{form:<13}{cell(ours) + ' ' + unit:>21}"
        speeds = f"{'':<28}{'':<13}{speed(ours):>21}"
        for process in rivals:
            rival = next((c for c in found if (c.name, c.form) == (process.name, form)), None)
            result = "-"
            if rival:
                of_best, of_median = rival.times_of(ours)
                result = f"{cell(rival)}   {of_best:.1f} ({of_median:.1f})x"
            row += f"{result:>36}"
            speeds += f"{speed(rival) if rival else '':>36}"
        print(row, *([speeds] if ours.speed else []), sep="\n", flush=True)
    return ours


def record(workload, found, ours):
    return {
        "workload": workload.name,
        "ours": {"row": ours.form, "best": ours.best, "median": ours.median, **ours.speed},
        "rivals": [
            {
                "name": c.name,
                "form": c.form,
                "best": c.best,
                "median": c.median,
                **dict(zip(("ratio_of_best", "ratio_of_median"), c.times_of(ours))),
                **c.speed,
            }
            for c in found
            if c.name != "ours"
        ],
    }


def check(rivals):
    """Check all rivals against the reference values: a rival that computes something else must
    not be timed.
    """
    for process in rivals:
        compiles = " (compiles for a minute)" if process.name == "torch.compile" else ""
        note(
            f"{process.version}: checking against {GOLDEN.relative_to(ROOT)} and the scan's "
            f"definition{compiles}"
        )
        try:
            process.ask("check", str(GOLDEN))
        except RuntimeError as error:
            stop(f"{process.version} does not compute the same: {error}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--bench", type=pathlib.Path, default=ROOT / "build/bin/bench", help="our program"
    )
    parser.add_argument(
        "--check", action="store_true", help="only check that the rivals compute the same"
    )
    parser.add_argument(
        "--filter",
        default="",
        metavar="REGEX",
        help="only the workloads whose name matches, for example 'tiny/step/2x256|scan/fwd'",
    )
    parser.add_argument("--rivals", nargs="+", choices=RIVALS, default=INSTALLED, help="only these")
    parser.add_argument("--rounds", type=int, default=5, help="everybody's turns (5)")
    parser.add_argument("--seconds", type=float, default=0.3, help="of a turn (0.3)")
    parser.add_argument(
        "--json",
        type=pathlib.Path,
        metavar="FILE",
        help="write the results there too, times in seconds",
    )
    options = parser.parse_args()
    chosen = [workload for workload in workloads.ALL if re.search(options.filter, workload.name)]
    if not chosen:
        stop(
            f"no workload matches '{options.filter}'; there are: "
            f"{', '.join(workload.name for workload in workloads.ALL)}"
        )
    ours = None if options.check else Ours(options.bench)

    rivals = [Process(name) for name in options.rivals]
    check(rivals)
    if options.check:
        return note("all compute the same")
    print_head(rivals)
    records = []
    for workload in chosen:
        if workload.bf16 and not ours.variants(workload):
            note(f"{workload.name} is left out: there are no kernels for bfloat16 here")
            continue
        found = contestants(workload, ours, rivals)
        time_in_rounds(found, options.rounds, options.seconds)
        if workload.kind == "train":
            add_speeds(workload, found, ours)
        records.append(record(workload, found, print_rows(workload, found, rivals)))
    if options.json:
        report = {
            "threads": len(os.sched_getaffinity(0)),
            "peaks": ours.peaks,
            "versions": [process.version for process in rivals],
            "results": records,
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        stop(error)
    except KeyboardInterrupt:
        stop("interrupted")
