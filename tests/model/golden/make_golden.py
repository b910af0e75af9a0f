#!/usr/bin/env python3
"""Makes ground truth for the model: one training step in float64, by PyTorch's autograd.

    make_golden.py OUT.safetensors --dim 12 --heads 3 --dpg --B 2 --T 7 --seed 5

The file is an input of `probe`, with the results that probe should have; check_golden.py compares.
Needs torch, numpy and safetensors; the project's tests need none of them.
This is written from the model's formulas, not from the project's code: keep it so.
"""

import argparse
import json

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

# The fields of the file's `config`; each is an option.
FIELDS = {
    "vocab_size": 61, "dim": 32, "layers": 2, "heads": 4, "mem_slots": 64, "hem": True,
    "dpg": False, "dpg_rank": 128, "uboo": False, "lambda_p": 0.1, "chunk_size": 0,
    "carry_state": False, "memory": "random",
}  # fmt: skip


# The model. B sequences, T positions, D = dim, V = vocab_size; all arrays are [B, T, ..].


def shapes(c):
    """Returns the shape of every parameter; linear weights are [out, in]."""
    D = c["dim"]
    result = {"embedding.weight": [c["vocab_size"], D], "norm.weight": [D]}
    linears = {
        "W_g": (D, D), "mdi.W_g": (D, 2 * D), "ffn.0": (4 * D, D), "ffn.3": (D, 4 * D),
        "multi_mem_attention.W_q": (D, D), "multi_mem_attention.W_o": (D, D),
    }  # fmt: skip
    for name in ("mdi.W_gamma", "mdi.W_context"):
        linears |= {f"{name}.0": (D // 4, D), f"{name}.2": (D, D // 4)}
    linears |= {"W_fused": (6 * D, D)} if c["hem"] else {f"W_{part}": (D, D) for part in "qkvz"}
    if c["dpg"]:
        linears |= {"W_gamma_down": (c["dpg_rank"], D), "W_gamma_up": (D, c["dpg_rank"])}
    if c["uboo"]:
        for name in ("mdi.W_planning_error", "mdi.W_planning_target"):
            linears |= {f"{name}.0": (D, D), f"{name}.2": (D, D)}
    for i in range(c["layers"]):
        for name, (out, width) in linears.items():
            result[f"blocks.{i}.{name}.weight"] = [out, width]
            result[f"blocks.{i}.{name}.bias"] = [out]
        result |= {f"blocks.{i}.norm{n}.weight": [D] for n in (1, 2)}
        if c["memory"] == "learned":
            result |= {f"blocks.{i}.memory.{n}": [c["mem_slots"] // 16, D] for n in "kv"}
    return result


def norm(x, weight):
    return weight * x / (x.square().mean(-1, keepdim=True).sqrt() + 1e-6)


def clamp(x):
    return x.clamp(1e-6, 1 - 1e-6)


def block(c, w, x, h, keys, values):
    """One layer over one chunk: x [B,T,D], state h [B,D], keys and values [B,slots,D].
    Returns the output, the state after it, and the squared planning errors [B,T,D] (or None)."""

    def linear(name, x):
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def mlp(name, x):
        return linear(f"{name}.2", F.gelu(linear(f"{name}.0", x)))

    xn = norm(x, w["norm1.weight"])
    if c["hem"]:
        q, k, v, z, _, _ = linear("W_fused", xn).chunk(6, -1)
    else:
        q, k, v, z = (linear(f"W_{part}", xn) for part in "qkvz")
    gm = clamp(mlp("mdi.W_gamma", z).sigmoid() * mlp("mdi.W_context", k).sigmoid())
    gamma = gm
    if c["dpg"]:
        gamma = clamp(linear("W_gamma_up", linear("W_gamma_down", z).relu()).sigmoid())

    states, errors = [], []
    for z_t, gm_t, gamma_t in zip(z.unbind(1), gm.unbind(1), gamma.unbind(1)):
        s = linear("W_g", h).sigmoid()
        g = linear("mdi.W_g", torch.cat([z_t, h], -1)).sigmoid()
        m = (1 - g) * h + g * z_t + gm_t * h
        if c["uboo"]:
            target = mlp("mdi.W_planning_error", m.detach())
            errors.append((target - mlp("mdi.W_planning_target", h)).square())
        h = z_t * s + gamma_t * h + 0.1 * m
        states.append(h)
    all_h = torch.stack(states, 1)

    def heads(x):
        return x.unflatten(-1, (c["heads"], -1)).transpose(1, 2)  # [B,H,T or slots,D/H]

    queries = heads(linear("multi_mem_attention.W_q", all_h) + 0.5 * q)
    scores = queries @ heads(keys).transpose(-1, -2) / (c["dim"] / c["heads"]) ** 0.5
    context = (scores.softmax(-1) @ heads(values)).transpose(1, 2).flatten(-2)
    r = x + all_h + linear("multi_mem_attention.W_o", context) + 0.1 * v
    out = r + linear("ffn.3", F.gelu(linear("ffn.0", norm(r, w["norm2.weight"]))))
    return out, h, torch.stack(errors, 1) if errors else None


def forward(c, w, ids, banks):
    """Returns logits [B,T,V] and the unweighted planning loss. `banks`: keys and values of all
    layers, [L,mem_slots,D] each; None where the slots are parameters."""
    B, T = ids.shape
    chunk = c["chunk_size"] or T
    x, planning = w["embedding.weight"][ids], 0
    for i in range(c["layers"]):
        prefix = f"blocks.{i}."
        own = {name.removeprefix(prefix): t for name, t in w.items() if name.startswith(prefix)}
        if banks is None:
            slots = [own["memory.k"], own["memory.v"]]
        else:  # two poolings 4:1 are one 16:1
            slots = [bank[i].unflatten(0, (-1, 16)).mean(1) for bank in banks]
        keys, values = (s.expand(B, -1, -1) for s in slots)
        h, outs, errors = x.new_zeros(B, c["dim"]), [], []
        for part in x.split(chunk, 1):
            out, last, error = block(c, own, part, h, keys, values)
            outs.append(out)
            errors.append(error)
            # All slots of a later chunk are equal, so one does. No gradient goes through it.
            keys = values = out.detach().mean(1, keepdim=True)
            if c["carry_state"]:
                h = last
        x = torch.cat(outs, 1)
        if c["uboo"]:
            planning = planning + torch.cat(errors, 1).mean()
    return norm(x, w["norm.weight"]) @ w["embedding.weight"].T, planning


# Files.


def training_step(c, inputs, dtype=torch.float64):
    """Returns the inputs (w.NAME, ids, targets and, unless learned, memory and memory_v) and what a
    step computed in `dtype` makes of them, as float32: logits, losses, gradients g.NAME and weights
    w1.NAME after the first step of AdamW with clip 1. Other tensors of `inputs` are not used."""
    w = {name: inputs[f"w.{name}"].detach().to(dtype).requires_grad_() for name in shapes(c)}
    banks = None
    if c["memory"] == "random":
        banks = [inputs[name].to(dtype) for name in ("memory", "memory_v")]
    logits, planning = forward(c, w, inputs["ids"].long(), banks)
    targets = inputs["targets"].long()
    token_loss = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    auxiliary = c["lambda_p"] * planning
    loss = token_loss.mean() + auxiliary
    loss.backward()
    gradients = {name: torch.zeros_like(t) if t.grad is None else t.grad for name, t in w.items()}
    grad_norm = sum(g.square().sum() for g in gradients.values()).sqrt()

    result = {"logits": logits, "token_loss": token_loss, "loss": loss, "grad_norm": grad_norm}
    if c["uboo"]:
        result["aux_loss"] = auxiliary
    for name, g in gradients.items():
        clipped = g * (1 / grad_norm).clamp(max=1)
        result[f"g.{name}"] = g
        # The first moments over their bias corrections are g and g^2: the betas cancel.
        update = clipped / (clipped.abs() + 1e-8) + 0.1 * w[name]
        result[f"w1.{name}"] = w[name] - 3e-4 * update
    stored = {name: torch.atleast_1d(t.detach()).float() for name, t in result.items()}
    known = {n: t for n, t in inputs.items() if n in INPUTS or n.startswith("w.")}
    return {name: t.contiguous() for name, t in (known | stored).items()}


INPUTS = ("ids", "targets", "memory", "memory_v")


def random_inputs(c, B, T, seed):
    """Weights about as wide as a new model's, but no bias is 0 and no norm's weight 1, so that each
    of them counts; the memory is 25 times wider, so that an error in the attention shows."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    inputs, all_shapes = {}, shapes(c)
    for name, shape in all_shapes.items():
        if "norm" in name:
            value = 1 + 0.1 * normal(*shape)
        elif ".memory." in name:
            value = 25 * 0.02 * normal(*shape)
        else:
            width = all_shapes[name.replace(".bias", ".weight")][1]
            value = (2 * torch.rand(*shape, generator=generator) - 1) / width**0.5
        inputs[f"w.{name}"] = value
    if c["memory"] == "random":
        for name in ("memory", "memory_v"):
            inputs[name] = 25 * 0.02 * normal(c["layers"], c["mem_slots"], c["dim"])
    text = torch.randint(c["vocab_size"], (B, T + 1), generator=generator, dtype=torch.int32)
    return inputs | {"ids": text[:, :-1].clone(), "targets": text[:, 1:].clone()}


def make(out, c, B, T, seed):
    metadata = {"config": json.dumps(c), "computed_in": "float64", "stored_as": "float32"}
    save_file(training_step(c, random_inputs(c, B, T, seed)), out, metadata)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out")
    for name, value in FIELDS.items():
        flag = {"action": argparse.BooleanOptionalAction} if isinstance(value, bool) else {}
        parser.add_argument(f"--{name}", default=value, **(flag or {"type": type(value)}))
    for name, value in {"B": 3, "T": 20, "seed": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    a = parser.parse_args()
    for holds, problem in (
        (a.dim > 0 and a.dim % 4 == 0, "dim must be a multiple of 4"),
        (a.heads > 0 and a.dim % a.heads == 0, "heads must divide dim"),
        (a.mem_slots > 0 and a.mem_slots % 16 == 0, "mem_slots must be a multiple of 16"),
        (min(a.vocab_size, a.layers, a.dpg_rank, a.B, a.T) > 0, "sizes must be positive"),
        (a.chunk_size >= 0, "chunk_size must be positive, or 0 for no chunks"),
        (a.memory in ("random", "learned"), "memory is random or learned"),
    ):
        if not holds:
            parser.error(problem)
    make(a.out, {name: getattr(a, name) for name in FIELDS}, a.B, a.T, a.seed)


if __name__ == "__main__":
    main()
