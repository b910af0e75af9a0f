"""The training step under torch.compile.

Compiling the fully unrolled recurrence takes minutes. So the recurrence is a custom operator,
which the compiler does not trace; inside, a loop calls a compiled piece of STEPS steps.
Everything around it compiles to one graph, forward and backward.
"""

import torch

import torch_model
import torch_recurrence as R

# Steps per compiled piece. More steps compile longer (128: two minutes) and run at most 20 %
# faster.
STEPS = 32
compiled = torch.compile(dynamic=False, options={"cpp_wrapper": True})


# Matrix products are written as sums of products: Inductor makes one vectorised loop of each, with
# the gates as its epilogue. Calls of a matrix multiplication take 1.6 times as long.
@compiled
def _forward_piece(pre, z, carried, weight, h):
    states, gates = [], []
    for pre_t, z_t, carried_t in zip(pre.unbind(), z.unbind(), carried.unbind()):
        gate = (pre_t + (weight * h.unsqueeze(1)).sum(2)).sigmoid()
        s, g = gate.chunk(2, 1)
        h = carried_t * h + s * z_t + R.SHARE * g * (z_t - h)
        states.append(h)
        gates.append(gate)
    return torch.stack(states), torch.stack(gates)


@compiled
def _backward_piece(slopes, a, transposed, dh, carry):
    dstates, dpre = [], []
    for slopes_t, a_t, dh_t in zip(*(x.flip(0).unbind() for x in (slopes, a, dh))):
        dh_t = dh_t + carry
        dpre_t = slopes_t * dh_t.unsqueeze(1)
        carry = a_t * dh_t + (transposed * dpre_t.flatten(1).unsqueeze(1)).sum(2)
        dstates.append(dh_t)
        dpre.append(dpre_t)
    return torch.stack(dstates[::-1]), torch.stack(dpre[::-1]), carry


def _forward_loop(pre, z, carried, weight, h, states, gates):
    for piece in (slice(t, t + STEPS) for t in range(0, len(z), STEPS)):
        states[piece], gates[piece] = _forward_piece(
            pre[piece], z[piece], carried[piece], weight, h
        )
        h = states[piece][-1]


def _backward_loop(slopes, a, weight, dh, dpre):
    transposed, carry = weight.t().contiguous(), torch.zeros_like(dh[0])
    for piece in reversed([slice(t, t + STEPS) for t in range(0, len(dh), STEPS)]):
        dh[piece], dpre[piece], carry = _backward_piece(
            slopes[piece], a[piece], transposed, dh[piece], carry
        )


@torch.library.custom_op("mmrec::recurrence", mutates_args=())
def _forward(
    pre: torch.Tensor, z: torch.Tensor, gm: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    return R.forward(pre, z, gm, weight, _forward_loop)


@_forward.register_fake
def _(pre, z, gm, weight):
    return torch.empty_like(z, memory_format=torch.contiguous_format), torch.empty_like(pre)


@torch.library.custom_op("mmrec::recurrence_backward", mutates_args=())
def _backward(
    dh: torch.Tensor,
    states: torch.Tensor,
    gates: torch.Tensor,
    z: torch.Tensor,
    gm: torch.Tensor,
    weight: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    return R.backward(dh, states, gates, z, gm, weight, _backward_loop)


@_backward.register_fake
def _(dh, states, gates, z, gm, weight):
    return (
        torch.empty_like(gates),
        torch.empty_like(states),
        torch.empty_like(states),
        torch.empty_like(weight),
    )


def _save(ctx, inputs, output):
    ctx.save_for_backward(*output, *inputs[1:])


_forward.register_autograd(
    lambda ctx, dh, _: _backward(dh, *ctx.saved_tensors), setup_context=_save
)


def recurrence(pre, z, gm, weight):
    return _forward(pre, z, gm, weight)[0]


loss = compiled(torch_model.loss)
