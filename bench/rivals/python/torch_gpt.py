"""The model of gpt.py in PyTorch. Activations are [B,T,D]."""

import torch
import torch.nn.functional as F

import torch_model
from torch_model import linear


def norm(w, name, x):
    return F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"])


def attention(w, name, x, heads):
    """Return what each position reads from itself and the earlier ones."""
    q, k, v = (
        part.unflatten(2, (heads, -1)).transpose(1, 2) for part in linear(w, name, x).chunk(3, 2)
    )
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


def loss(w, config, ids, targets, dropout):
    """Return the mean cross-entropy of targets. ids, targets: [T,B].

    There is dropout on what the branches add, as in MM-Rec's step. On attention's weights there is
    none: with it, scaled_dot_product_attention has no fused kernel for CPUs.
    """
    drop = lambda x: F.dropout(x, dropout, dropout > 0)
    x = drop(F.embedding(ids.t(), w["embedding.weight"]) + w["positions.weight"])
    for i in range(config.layers):
        block = f"blocks.{i}."
        rows = attention(w, block + "qkv", norm(w, block + "norm1", x), config.heads)
        x = x + drop(linear(w, block + "out", rows))
        hidden = F.gelu(linear(w, block + "ffn.0", norm(w, block + "norm2", x)))
        x = x + drop(linear(w, block + "ffn.2", hidden))
    logits = F.linear(norm(w, "norm", x), w["embedding.weight"])
    return F.cross_entropy(logits.flatten(0, 1), targets.t().flatten())


class Training(torch_model.Training):
    """The same for this model. `loss` is the function above, or its form compiled."""

    def step(self):
        loss = self.gradients(self.dropout)
        self.update()
        return loss
