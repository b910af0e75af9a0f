"""MM-Rec's training step in JAX under one jit. Activations are time-major: N = T*B rows of D
columns.
"""

import functools

import jax
import jax.numpy as jnp

import parameters as P

SHARE = 0.1  # share of the MDI state in h


def recurrence_forward(pre, z, gm, weight):
    """Return h [T,B,D] and gates [T,B,2D].

    pre [T,B,2D] is the gates' input without h; z and gm are [T,B,D]; weight is [2D,D].
    """

    def step(h, inputs):
        pre_t, z_t, carried_t = inputs
        gates = jax.nn.sigmoid(pre_t + h @ weight.T)
        s, g = jnp.split(gates, 2, 1)
        h = carried_t * h + s * z_t + SHARE * g * (z_t - h)
        return h, (h, gates)

    return jax.lax.scan(step, jnp.zeros_like(z[0]), (pre, z, (1 + SHARE) * gm + SHARE))[1]


def recurrence_by_autodiff(pre, z, gm, weight):
    return recurrence_forward(pre, z, gm, weight)[0]


@jax.custom_vjp
def recurrence_by_hand(pre, z, gm, weight):
    """The recurrence with a backward pass by hand. Its loop has only three operations: dh, then
    dpre and the gradient for t - 1.
    """
    return recurrence_forward(pre, z, gm, weight)[0]


def _save(pre, z, gm, weight):
    states, gates = recurrence_forward(pre, z, gm, weight)
    return states, (states, gates, z, gm, weight)


def _backward(saved, dh):
    states, gates, z, gm, weight = saved
    s, g = jnp.split(gates, 2, 2)
    previous = jnp.concatenate([jnp.zeros_like(states[:1]), states[:-1]])
    slopes = gates * (1 - gates) * jnp.concatenate([z, SHARE * (z - previous)], 2)
    a = (1 + SHARE) * gm + SHARE - SHARE * g

    def step(carry, inputs):
        dh_t, slopes_t, a_t = inputs
        dh_t = dh_t + carry
        dpre_t = slopes_t * jnp.tile(dh_t, 2)
        return a_t * dh_t + dpre_t @ weight, (dh_t, dpre_t)

    dh, dpre = jax.lax.scan(step, jnp.zeros_like(dh[0]), (dh, slopes, a), reverse=True)[1]
    return (
        dpre,
        dh * (s + SHARE * g),
        (1 + SHARE) * dh * previous,
        jnp.einsum("tbg,tbd->gd", dpre, previous),
    )


recurrence_by_hand.defvjp(_save, _backward)


def norm(x, weight):
    """RMSNorm. The epsilon is added to the root mean square, outside the root."""
    return weight * (x / (jnp.sqrt(jnp.square(x).mean(-1, keepdims=True)) + 1e-6))


def linear(w, name, x):
    return x @ w[name + ".weight"].T + w[name + ".bias"]


def gelu(x):
    return jax.nn.gelu(x, approximate=False)


def mlp(w, name, x):
    return linear(w, name + ".2", gelu(linear(w, name + ".0", x)))


def attention(q, keys, values, heads):
    """Attention of q [N,D] over keys and values [SLOTS,D], which all rows share."""
    q, keys, values = (rows.reshape(rows.shape[0], heads, -1) for rows in (q, keys, values))
    scores = jnp.einsum("nhd,shd->hns", q, keys) / q.shape[2] ** 0.5
    return jnp.einsum("hns,shd->nhd", jax.nn.softmax(scores), values).reshape(q.shape[0], -1)


def block(w, config, x, memory, B, drop, recurrence):
    D = config.dim
    by_time = lambda rows: rows.reshape(-1, B, rows.shape[1])

    qkvz = norm(x, w["norm1.weight"]) @ w["W_fused.weight"][: 4 * D].T + w["W_fused.bias"][: 4 * D]
    q, k, v, z = jnp.split(qkvz, 4, 1)
    gm = jnp.clip(
        jax.nn.sigmoid(mlp(w, "mdi.W_gamma", z)) * jax.nn.sigmoid(mlp(w, "mdi.W_context", k)),
        1e-6,
        1 - 1e-6,
    )
    gate_z, gate_h = jnp.split(w["mdi.W_g.weight"], 2, 1)
    pre = jnp.concatenate(
        [jnp.broadcast_to(w["W_g.bias"], z.shape), z @ gate_z.T + w["mdi.W_g.bias"]], 1
    )
    h = recurrence(
        by_time(pre), by_time(z), by_time(gm), jnp.concatenate([w["W_g.weight"], gate_h])
    ).reshape(-1, D)

    context = attention(
        linear(w, "multi_mem_attention.W_q", h) + 0.5 * q, memory[0], memory[1], config.heads
    )
    x = x + drop(h + linear(w, "multi_mem_attention.W_o", context) + 0.1 * v)
    return x + drop(linear(w, "ffn.3", drop(gelu(linear(w, "ffn.0", norm(x, w["norm2.weight"]))))))


def loss(w, config, ids, targets, memory, dropout, key, recurrence):
    """Return the mean cross-entropy of targets. ids, targets: [T,B]; memory: [L,2,SLOTS,D]."""
    keys = iter(jax.random.split(key, 3 * config.layers))

    def drop(x):
        if dropout == 0:
            return x
        return jnp.where(
            jax.random.bernoulli(next(keys), 1 - dropout, x.shape), x / (1 - dropout), 0
        )

    x = w["embedding.weight"][ids.reshape(-1)]
    for i in range(config.layers):
        of_block = {
            name.removeprefix(f"blocks.{i}."): value
            for name, value in w.items()
            if name.startswith(f"blocks.{i}.")
        }
        x = block(of_block, config, x, memory[i], ids.shape[1], drop, recurrence)
    logits = norm(x, w["norm.weight"]) @ w["embedding.weight"].T
    of_targets = jnp.take_along_axis(logits, targets.reshape(-1, 1), 1)[:, 0]
    return (jax.nn.logsumexp(logits, 1) - of_targets).mean()


def adamw(weights, gradients, moments, steps):
    """Clip by the global norm, decay and update the weights. moments: name -> (first, second)."""
    norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in gradients.values()))
    scale = jnp.minimum(1, P.CLIP / norm)
    beta1, beta2 = P.BETAS
    correct1, correct2 = 1 / (1 - beta1**steps), 1 / (1 - beta2**steps)
    updated, kept = {}, {}
    for name, w in weights.items():
        g = scale * gradients[name]
        first, second = (
            beta1 * moments[name][0] + (1 - beta1) * g,
            beta2 * moments[name][1] + (1 - beta2) * g * g,
        )
        direction = first * correct1 / (jnp.sqrt(second * correct2) + P.EPSILON)
        updated[name], kept[name] = w * (
            1 - P.LEARNING_RATE * P.WEIGHT_DECAY
        ) - P.LEARNING_RATE * direction, (first, second)
    return updated, kept


class Training:
    """A training run that repeats its step on the same batch."""

    def __init__(self, config, weights, ids, targets, dropout, recurrence):
        of_loss = functools.partial(loss, config=config, dropout=dropout, recurrence=recurrence)
        self.ids, self.targets = jnp.asarray(ids), jnp.asarray(targets)
        self.weights = {name: jnp.array(value) for name, value in weights.items()}
        self.moments = {
            name: (jnp.zeros_like(w), jnp.zeros_like(w)) for name, w in self.weights.items()
        }
        self.steps = 0
        self.key = jax.random.key(0)
        self.value_and_gradients = jax.jit(
            lambda w, ids, targets, memory: jax.value_and_grad(of_loss)(
                w, ids=ids, targets=targets, memory=memory, key=jax.random.key(0)
            )
        )
        self.update = jax.jit(adamw)

        def whole_step(weights, moments, steps, key, ids, targets):
            key, of_memory, of_masks = jax.random.split(key, 3)
            memory = P.BANK_SCALE * jax.random.normal(
                of_memory, (config.layers, 2, P.SLOTS, config.dim)
            )
            value, gradients = jax.value_and_grad(of_loss)(
                weights, ids=ids, targets=targets, memory=memory, key=of_masks
            )
            return *adamw(weights, gradients, moments, steps), key, value

        self.whole_step = jax.jit(whole_step, donate_argnums=(0, 1))

    def step(self):
        self.steps += 1
        self.weights, self.moments, self.key, value = self.whole_step(
            self.weights, self.moments, jnp.float32(self.steps), self.key, self.ids, self.targets
        )
        return value.block_until_ready()
