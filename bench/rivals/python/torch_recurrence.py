"""The recurrence h_t = a_t h_{t-1} + b_t in PyTorch, differentiated by autograd or by hand.

Arguments: pre [T,B,2D] (the gates' input without h), z and gm [T,B,D], weight [2D,D] (both
gates' weights on h). Result: h [T,B,D]. With s, g = sigmoid(pre + h W^T):
h_t = (1.1 gm + 0.1) h + s z + 0.1 g (z - h).
"""

import torch

SHARE = 0.1  # share of the MDI state in h


def by_autograd(pre, z, gm, weight):
    """The recurrence as a Python loop, differentiated by autograd."""
    carried = (1 + SHARE) * gm + SHARE
    transposed = weight.t()
    h = torch.zeros_like(z[0])
    states = []
    for pre_t, z_t, carried_t in zip(pre.unbind(), z.unbind(), carried.unbind()):
        s, g = torch.addmm(pre_t, h, transposed).sigmoid().chunk(2, 1)
        h = carried_t * h + s * z_t + SHARE * g * (z_t - h)
        states.append(h)
    return torch.stack(states)


def forward_loop(pre, z, carried, weight, h, states, gates):
    """Fill states and gates. Six operations per step; none allocates memory."""
    D = z.shape[2]
    transposed = weight.t()
    difference = torch.empty_like(h)
    s, g = gates[..., :D].unbind(), gates[..., D:].unbind()
    for pre_t, z_t, carried_t, gates_t, s_t, g_t, state in zip(
        pre.unbind(), z.unbind(), carried.unbind(), gates.unbind(), s, g, states.unbind()
    ):
        torch.addmm(pre_t, h, transposed, out=gates_t).sigmoid_()
        torch.sub(z_t, h, out=difference)
        h = (
            torch.mul(carried_t, h, out=state)
            .addcmul_(s_t, z_t)
            .addcmul_(g_t, difference, value=SHARE)
        )


def backward_loop(slopes, a, weight, dh, dpre):
    """Add the gradient through time to dh [T,B,D], in place, and fill dpre. Three operations per
    step.
    """
    dh, dpre = dh.unbind(), dpre.unbind()
    slopes, a = slopes.unbind(), a.unbind()
    for t in range(len(dh) - 1, -1, -1):
        torch.mul(slopes[t], dh[t].unsqueeze(1), out=dpre[t])
        if t > 0:
            dh[t - 1].addcmul_(a[t], dh[t]).addmm_(dpre[t].flatten(1), weight)


def forward(pre, z, gm, weight, loop):
    """Return h [T,B,D] and the gates [T,B,2D] after the sigmoid."""
    states, gates = torch.empty_like(z), torch.empty_like(pre)
    loop(pre, z, (1 + SHARE) * gm + SHARE, weight, torch.zeros_like(z[0]), states, gates)
    return states, gates


def backward(dh, states, gates, z, gm, weight, loop):
    """Return dpre, dz, dgm, dweight for dh. All work that does not depend on the gradient at t +
    1 is outside the loop.
    """
    T, B, D = z.shape
    s, g = gates.split(D, 2)
    previous = torch.cat([torch.zeros_like(states[:1]), states[:-1]])
    slopes = gates * (1 - gates) * torch.cat([z, SHARE * (z - previous)], 2)
    a = (1 + SHARE) * gm + SHARE - SHARE * g
    dh = dh.clone(memory_format=torch.contiguous_format)
    dpre = torch.empty_like(gates)
    loop(slopes.view(T, B, 2, D), a, weight, dh, dpre.view(T, B, 2, D))
    return (
        dpre,
        dh * (s + SHARE * g),
        (1 + SHARE) * dh * previous,
        dpre.flatten(0, 1).t() @ previous.flatten(0, 1),
    )


class ByHand(torch.autograd.Function):
    """The same loop with a backward pass by hand."""

    @staticmethod
    def forward(ctx, pre, z, gm, weight):
        states, gates = forward(pre, z, gm, weight, forward_loop)
        ctx.save_for_backward(states, gates, z, gm, weight)
        return states

    @staticmethod
    def backward(ctx, dh):
        return backward(dh, *ctx.saved_tensors, backward_loop)


by_hand = ByHand.apply
