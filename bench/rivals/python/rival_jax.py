"""Rival JAX: everything under jit."""

import jax

import jax_model
import jax_scan
import parameters

FORMS = {
    "train": ["autograd", "by hand"],
    "fwd": list(jax_scan.FORWARD),
    "bwd": ["log space", "cumprod", "by hand"],
}
VERSION = f"JAX {jax.__version__}"
_RECURRENCE = {
    "autograd": jax_model.recurrence_by_autodiff,
    "by hand": jax_model.recurrence_by_hand,
}


def train(config, weights, ids, targets, form):
    return jax_model.Training(
        config, weights, ids, targets, parameters.DROPOUT, _RECURRENCE[form]
    ).step


def golden_step(golden, form):
    training = jax_model.Training(
        golden.config, golden.weights, golden.ids, golden.targets, 0, _RECURRENCE[form]
    )
    value, gradients = training.value_and_gradients(
        training.weights, training.ids, training.targets, golden.memory
    )
    return (
        value.item(),
        gradients,
        training.update(training.weights, gradients, training.moments, 1)[0],
    )


def scan(label, form, x, dy):
    return jax_scan.prepare(label, form, x, dy)


def wait(result):
    jax.block_until_ready(result)


def clear():
    pass
