"""Rival PyTorch, in its default eager mode."""

import os

import torch

import gpt
import parameters
import torch_gpt
import torch_model
import torch_recurrence
import torch_scan

FORMS = {
    "train": ["autograd", "by hand", gpt.FORM],
    "train_bf16": ["by hand", gpt.FORM],
    "fwd": ["log space", "cumprod"],
    "bwd": ["log space", "cumprod", "by hand"],
}
VERSION = f"PyTorch {torch.__version__}"
_RECURRENCE = {"autograd": torch_recurrence.by_autograd, "by hand": torch_recurrence.by_hand}

torch.set_flush_denormal(True)  # before the first parallel loop: its threads inherit the mode
torch.set_num_threads(len(os.sched_getaffinity(0)))


def train(config, weights, ids, targets, form, bf16=False):
    if form == gpt.FORM:
        return torch_gpt.Training(
            config, weights, ids, targets, parameters.DROPOUT, torch_gpt.loss, bf16=bf16
        ).step
    return torch_model.Training(
        config,
        weights,
        ids,
        targets,
        parameters.DROPOUT,
        torch_model.loss,
        _RECURRENCE[form],
        bf16,
    ).step


def golden_step(golden, form, bf16=False):
    return torch_model.golden_step(golden, torch_model.loss, _RECURRENCE[form], bf16)


def gpt_loss(config, weights, ids, targets, bf16=False):
    training = torch_gpt.Training(config, weights, ids, targets, 0, torch_gpt.loss, bf16=bf16)
    return training.gradients(0).item()


def scan(label, form, x, dy):
    return torch_scan.prepare(label, form, x, dy)


def wait(result):
    pass


def clear():
    pass
