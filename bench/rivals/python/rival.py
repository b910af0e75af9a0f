"""One rival in its own process. It prepares, checks and times workloads on the driver's request.

Requests and answers are JSON, one line each.
"""

import importlib
import json
import os
import signal
import sys
import time

import numpy as np

import gpt
import parameters

SAMPLE_SECONDS = 0.05


def check_scan(implementation, label, form):
    """Compare a scan with its definition in float64."""
    rng = np.random.default_rng(1)
    x, dy = rng.uniform(0.98, 1.02, (3, 70, 5)).astype(np.float32), rng.uniform(
        -1, 1, (3, 70, 5)
    ).astype(np.float32)
    y = np.cumprod(x, 1, dtype=np.float64)
    want = y if label == "fwd" else np.cumsum((dy * y)[:, ::-1], 1)[:, ::-1] / x
    got = np.asarray(implementation.scan(label, form, x, dy)())
    difference = np.abs(got - want).max() / np.abs(want).max()
    if not difference <= 1e-5:
        raise AssertionError(
            f"scan/{label}, {form}: {difference:.2g} of the largest element from the definition"
        )


# Of a loss with products in bfloat16: each factor is rounded by up to 1/256 of itself.
BF16_TOLERANCE = 0.01


def check_gpt(implementation, bf16):
    """Compare the loss of a small GPT with its definition in float64."""
    config, B, T = parameters.Config(vocabulary=50, dim=32, layers=2, heads=4), 3, 24
    ids, targets = parameters.batch(config, B, T)
    # larger than initial weights, so that every part counts
    weights = {name: 5 * value for name, value in gpt.initial(config, T).items()}
    want = gpt.loss(weights, config, ids, targets)
    got = implementation.gpt_loss(config, weights, ids, targets, **precision(bf16))
    if not abs(got - want) <= (BF16_TOLERANCE if bf16 else 1e-5) * want:
        raise AssertionError(f"{gpt.FORM}: the loss is {got}, by definition {want}")


def precision(bf16):
    """Return the argument for an implementation, which need not know bfloat16."""
    return {"bf16": True} if bf16 else {}


class Rival:
    def __init__(self, implementation):
        self.implementation = implementation
        self.prepared = {}  # form -> (call, calls per sample), for the current workload

    def describe(self):
        """Return the version, and the available forms of train, train_bf16, fwd and bwd."""
        return self.implementation.VERSION, self.implementation.FORMS

    def check(self, golden):
        golden = parameters.Golden(golden)
        for bf16 in (False, True):
            for form in self.implementation.FORMS.get("train_bf16" if bf16 else "train", []):
                if form == gpt.FORM:
                    check_gpt(self.implementation, bf16)
                    continue
                step = self.implementation.golden_step(golden, form, **precision(bf16))
                if bf16:
                    golden.compare_loss(step[0], BF16_TOLERANCE * golden.loss)
                else:
                    golden.compare(*step)
        for label in ("fwd", "bwd"):
            for form in self.implementation.FORMS[label]:
                check_scan(self.implementation, label, form)

    def clear(self):
        self.prepared.clear()
        self.implementation.clear()

    def prepare(self, kind, label, sizes, form, bf16):
        """Make the arrays, compile and warm up."""
        if kind == "train":
            config = parameters.PRESETS[label]
            ids, targets = parameters.batch(config, *sizes)
            weights = (
                gpt.initial(config, sizes[1]) if form == gpt.FORM else parameters.initial(config)
            )
            call = self.implementation.train(
                config, weights, ids, targets, form, **precision(bf16)
            )
        else:
            rng = np.random.default_rng(0)
            x, dy = (
                rng.uniform(low, high, sizes).astype(np.float32)
                for low, high in ((0.98, 1.02), (-1, 1))
            )
            call = self.implementation.scan(label, form, x, dy)
        for _ in range(3):
            self.sample(call, 1)
        self.prepared[form] = call, max(1, round(SAMPLE_SECONDS / self.sample(call, 1)))

    def sample(self, call, calls):
        """Run `calls` calls. Return seconds per call."""
        begin = time.perf_counter()
        for _ in range(calls):
            result = call()
        self.implementation.wait(result)
        return (time.perf_counter() - begin) / calls

    def time(self, form, seconds):
        call, calls = self.prepared[form]
        self.sample(call, 1)  # brings data back that other contestants displaced from the caches
        samples, end = [], time.perf_counter() + seconds
        while not samples or time.perf_counter() < end:
            samples.append(self.sample(call, calls))
        return samples


def main():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # end with the driver, without a traceback
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keep the frameworks' output out of the answers
    rival = Rival(importlib.import_module(sys.argv[1]))
    for line in sys.stdin:
        request, arguments = json.loads(line)
        try:
            answer = {"result": getattr(rival, request)(*arguments)}
        except Exception as error:
            answer = {
                "error": f"{type(error).__name__}: "
                f"{str(error).strip().splitlines()[0] if str(error).strip() else ''}"
            }
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
