"""MM-Rec's training step in PyTorch. Activations are time-major: N = T*B rows of D columns."""

import torch
import torch.nn.functional as F

import parameters as P


def norm(x, weight):
    """RMSNorm. The epsilon is added to the root mean square, outside the root."""
    return weight * (x / (x.square().mean(-1, keepdim=True).sqrt() + 1e-6))


def linear(w, name, x):
    return F.linear(x, w[name + ".weight"], w[name + ".bias"])


def mlp(w, name, x):
    return linear(w, name + ".2", F.gelu(linear(w, name + ".0", x)))


def attention(q, keys, values, heads):
    """Attention of q [N,D] over keys and values [SLOTS,D], which all rows share."""
    by_head = lambda rows: rows.unflatten(1, (heads, -1)).transpose(0, 1)
    return (
        F.scaled_dot_product_attention(by_head(q), by_head(keys), by_head(values))
        .transpose(0, 1)
        .flatten(1)
    )


def block(w, i, config, x, memory, B, dropout, recurrence):
    D = config.dim
    w = {
        name.removeprefix(f"blocks.{i}."): value
        for name, value in w.items()
        if name.startswith(f"blocks.{i}.")
    }
    drop = lambda rows: F.dropout(rows, dropout, dropout > 0)
    by_time = lambda rows: rows.unflatten(0, (-1, B))

    q, k, v, z = F.linear(
        norm(x, w["norm1.weight"]), w["W_fused.weight"][: 4 * D], w["W_fused.bias"][: 4 * D]
    ).split(D, 1)
    gm = (mlp(w, "mdi.W_gamma", z).sigmoid() * mlp(w, "mdi.W_context", k).sigmoid()).clamp(
        1e-6, 1 - 1e-6
    )
    gate_z, gate_h = w["mdi.W_g.weight"].split(D, 1)
    pre = torch.cat([w["W_g.bias"].expand_as(z), F.linear(z, gate_z, w["mdi.W_g.bias"])], 1)
    with torch.autocast("cpu", enabled=False):  # the state is of single precision
        h = recurrence(
            *(by_time(rows.float()) for rows in (pre, z, gm)),
            torch.cat([w["W_g.weight"], gate_h]),
        ).flatten(0, 1)

    context = attention(
        linear(w, "multi_mem_attention.W_q", h) + 0.5 * q, memory[0], memory[1], config.heads
    )
    x = x + drop(h + linear(w, "multi_mem_attention.W_o", context) + 0.1 * v)
    return x + drop(
        linear(w, "ffn.3", drop(F.gelu(linear(w, "ffn.0", norm(x, w["norm2.weight"])))))
    )


def loss(w, config, ids, targets, memory, dropout, recurrence):
    """Return the mean cross-entropy of targets. ids, targets: [T,B]; memory: [L,2,SLOTS,D]."""
    x = F.embedding(ids.flatten(), w["embedding.weight"])
    for i in range(config.layers):
        x = block(w, i, config, x, memory[i], ids.shape[1], dropout, recurrence)
    return F.cross_entropy(
        F.linear(norm(x, w["norm.weight"]), w["embedding.weight"]), targets.flatten()
    )


class Training:
    """A training run that repeats its step on the same batch.

    `loss` is the function above, or its form compiled by torch.compile. `bf16`: under autocast.
    """

    def __init__(self, config, weights, ids, targets, dropout, loss, recurrence=None, bf16=False):
        self.config, self.dropout, self.loss, self.recurrence = config, dropout, loss, recurrence
        self.bf16 = bf16
        self.weights = {
            name: torch.tensor(value, requires_grad=True) for name, value in weights.items()
        }
        self.ids, self.targets = torch.tensor(ids).long(), torch.tensor(targets).long()
        self.optimizer = torch.optim.AdamW(
            self.weights.values(), P.LEARNING_RATE, P.BETAS, P.EPSILON, P.WEIGHT_DECAY, fused=True
        )

    def gradients(self, *rest):
        """Compute the gradients and return the loss. `rest`: the loss function's last arguments."""
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            loss = self.loss(self.weights, self.config, self.ids, self.targets, *rest)
        loss.backward()
        return loss

    def update(self):
        torch.nn.utils.clip_grad_norm_(self.weights.values(), P.CLIP, foreach=True)
        self.optimizer.step()

    def step(self):
        memory = P.BANK_SCALE * torch.randn(self.config.layers, 2, P.SLOTS, self.config.dim)
        loss = self.gradients(memory, self.dropout, self.recurrence)
        self.update()
        return loss


def golden_step(golden, loss, recurrence, bf16):
    """Return loss, gradients and updated weights of the golden file's step."""
    training = Training(
        golden.config, golden.weights, golden.ids, golden.targets, 0, loss, recurrence, bf16
    )
    value = training.gradients(torch.from_numpy(golden.memory), 0, recurrence).item()
    gradients = {name: w.grad.numpy().copy() for name, w in training.weights.items()}
    training.update()
    return value, gradients, {name: w.detach().numpy() for name, w in training.weights.items()}
