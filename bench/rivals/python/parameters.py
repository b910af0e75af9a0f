"""Common parts of all implementations: configurations, the parameters' names, shapes and initial
values, the golden file.
"""

import dataclasses
import json
import math
import struct

import numpy as np

# Slots of the memory's top level. Each is the mean of POOLED slots of a bank.
SLOTS, POOLED = 64, 16
# Standard deviation of a top slot; that of a bank's slot is 0.02.
BANK_SCALE = 0.02 / POOLED**0.5
DROPOUT = 0.1
LEARNING_RATE, BETAS, EPSILON, WEIGHT_DECAY, CLIP = 3e-4, (0.9, 0.95), 1e-8, 0.1, 1.0


@dataclasses.dataclass(frozen=True)
class Config:
    vocabulary: int
    dim: int
    layers: int
    heads: int


PRESETS = {"tiny": Config(5000, 128, 4, 4), "mini": Config(10000, 256, 6, 4)}


def initial(config, seed=0):
    """Return the initial parameters: name -> float32 array. Linear weights are [out, in]."""
    rng = np.random.default_rng(seed)
    D, weights = config.dim, {}

    def uniform(name, bound, *shape):
        weights[name] = rng.uniform(-bound, bound, shape).astype(np.float32)

    def linear(name, out, inputs):
        uniform(name + ".weight", 1 / math.sqrt(inputs), out, inputs)
        uniform(name + ".bias", 1 / math.sqrt(inputs), out)

    uniform("embedding.weight", 1 / math.sqrt(D), config.vocabulary, D)
    weights["norm.weight"] = np.ones(D, np.float32)
    for i in range(config.layers):
        block = f"blocks.{i}."
        weights[block + "norm1.weight"] = np.ones(D, np.float32)
        weights[block + "norm2.weight"] = np.ones(D, np.float32)
        uniform(block + "W_fused.weight", math.sqrt(3 / D), 6 * D, D)
        weights[block + "W_fused.bias"] = np.zeros(6 * D, np.float32)
        linear(block + "W_g", D, D)
        linear(block + "mdi.W_g", D, 2 * D)
        for mlp in ("mdi.W_gamma", "mdi.W_context"):
            linear(f"{block}{mlp}.0", D // 4, D)
            linear(f"{block}{mlp}.2", D, D // 4)
        linear(block + "multi_mem_attention.W_q", D, D)
        linear(block + "multi_mem_attention.W_o", D, D)
        linear(block + "ffn.0", 4 * D, D)
        linear(block + "ffn.3", D, 4 * D)
    return weights


def batch(config, B, T, seed=0):
    """Return random ids and targets, int32 [T,B] each."""
    return np.random.default_rng(seed).integers(0, config.vocabulary, (2, T, B), dtype=np.int32)


def demand(difference, tolerance, what):
    if not difference <= tolerance:
        raise AssertionError(
            f"{what} is {difference:.2g} from the golden file, more than {tolerance:.2g}"
        )


class Golden:
    """One training step without dropout, computed in float64 by an independent implementation.

    The file is in the safetensors format.
    """

    def __init__(self, path):
        with open(path, "rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
            data = file.read()
        fields = json.loads(header.pop("__metadata__")["config"])
        types = {"F32": np.float32, "I32": np.int32}
        arrays = {
            name: np.frombuffer(data[slice(*entry["data_offsets"])], types[entry["dtype"]]).reshape(
                entry["shape"]
            )
            for name, entry in header.items()
        }
        part = lambda prefix: {
            name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)
        }
        self.config = Config(fields["vocab_size"], fields["dim"], fields["layers"], fields["heads"])
        self.weights, self.gradients, self.updated = part("w."), part("g."), part("w1.")
        self.ids, self.targets = arrays["ids"].T.copy(), arrays["targets"].T.copy()  # [T,B]
        self.loss, self.norm = arrays["loss"].item(), arrays["grad_norm"].item()
        banks = np.stack([arrays["memory"], arrays["memory_v"]], 1)  # [L,2,slots,D]
        banks = banks.reshape(*banks.shape[:2], -1, POOLED, self.config.dim)
        self.memory = banks.mean(3, dtype=np.float64).astype(np.float32)

    def compare_loss(self, loss, tolerance):
        demand(abs(loss - self.loss), tolerance, "the loss")

    def compare(self, loss, gradients, updated):
        """Raise an AssertionError if the loss, a gradient or an updated weight differs from the
        golden file. The tolerances are those of tests/model/test_golden.cpp.
        """
        self.compare_loss(loss, 1e-5)
        clip = min(1, CLIP / self.norm)
        for name, want in self.gradients.items():
            demand(
                np.abs(gradients[name] - want).max(),
                5e-5 * np.abs(want).max(),
                f"the gradient of {name}",
            )
            # For smaller gradients, rounding decides the sign of Adam's first step.
            decided = clip * np.abs(want) > 1e-6
            demand(
                np.abs(updated[name] - self.updated[name])[decided].max(initial=0),
                1e-6,
                f"{name} after the step",
            )
