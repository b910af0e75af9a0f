"""A GPT like nanoGPT's, the model that users compare with: parameters, FLOPs and definition.

It has the width, depth, heads, vocabulary and windows of the MM-Rec step beside which it is timed,
LayerNorm before each branch, MLPs of four times the width with GELU, learned positions, and an
embedding that is the head, too.
"""

import math

import numpy as np

FORM = "nanoGPT"  # beside the forms of MM-Rec's step


def initial(config, T, seed=0):
    """Return the initial parameters for windows of T: name -> float32 array. Linear weights are
    [out, in].
    """
    rng = np.random.default_rng(seed)
    D, weights = config.dim, {}

    def normal(name, deviation, *shape):
        weights[name] = (deviation * rng.standard_normal(shape)).astype(np.float32)

    def linear(name, out, inputs, deviation=0.02):
        normal(name + ".weight", deviation, out, inputs)
        weights[name + ".bias"] = np.zeros(out, np.float32)

    def norm(name):
        weights[name + ".weight"] = np.ones(D, np.float32)
        weights[name + ".bias"] = np.zeros(D, np.float32)

    normal("embedding.weight", 0.02, config.vocabulary, D)
    normal("positions.weight", 0.02, T, D)
    norm("norm")
    to_residual = 0.02 / math.sqrt(2 * config.layers)
    for i in range(config.layers):
        block = f"blocks.{i}."
        norm(block + "norm1")
        linear(block + "qkv", 3 * D, D)
        linear(block + "out", D, D, to_residual)
        norm(block + "norm2")
        linear(block + "ffn.0", 4 * D, D)
        linear(block + "ffn.2", D, 4 * D, to_residual)
    return weights


def flops(config, B, T):
    """Return the FLOPs of a training step: 6 N for each token, forward and backward, and 12 T D for
    each token and layer for the products of queries with keys and of scores with values.

    N is all parameters but the positions; the embedding counts once, as the head. The scores count
    in full, as is usual, although half of them are masked and need not be computed.
    """
    D, layers = config.dim, config.layers
    of_block = 12 * D * D + 13 * D  # weights; biases and the norms' parameters
    N = config.vocabulary * D + layers * of_block + 2 * D
    return B * T * (6 * N + 12 * layers * T * D)


def loss(weights, config, ids, targets):
    """Return the mean cross-entropy of targets without dropout, in float64. ids, targets: [T,B]."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    (T, B), D = ids.shape, config.dim
    gelu = np.vectorize(lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))))
    linear = lambda name, x: x @ w[name + ".weight"].T + w[name + ".bias"]

    def norm(name, x):
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt(np.square(centred).mean(-1, keepdims=True) + 1e-5)
        return centred / scale * w[name + ".weight"] + w[name + ".bias"]

    def attention(name, x):
        q, k, v = linear(name, x).reshape(B, T, 3, config.heads, -1).transpose(2, 0, 3, 1, 4)
        scores = q @ k.swapaxes(2, 3) / math.sqrt(D // config.heads)
        exp = np.tril(np.exp(scores - scores.max(3, keepdims=True)))
        return (exp / exp.sum(3, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(B, T, D)

    x = w["embedding.weight"][ids.T] + w["positions.weight"]
    for i in range(config.layers):
        block = f"blocks.{i}."
        x = x + linear(block + "out", attention(block + "qkv", norm(block + "norm1", x)))
        hidden = gelu(linear(block + "ffn.0", norm(block + "norm2", x)))
        x = x + linear(block + "ffn.2", hidden)
    logits = norm("norm", x) @ w["embedding.weight"].T
    of_targets = np.take_along_axis(logits, targets.T[..., None], 2)[..., 0]
    return (np.log(np.exp(logits).sum(2)) - of_targets).mean()
