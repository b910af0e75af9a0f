"""Rival torch.compile: the same model and scans as PyTorch, compiled."""

import torch

import gpt
import parameters
import torch_compiled
import torch_gpt
import torch_model
import torch_scan
from rival_torch import wait  # the import also sets threads and flushing of denormals

FORMS = {
    "train": ["by hand", gpt.FORM],
    "train_bf16": ["by hand", gpt.FORM],
    "fwd": ["log space", "cumprod"],
    "bwd": ["log space", "cumprod", "by hand"],
}
_GPT_LOSS = torch_compiled.compiled(torch_gpt.loss)
VERSION = f"torch.compile {torch.__version__}"


def train(config, weights, ids, targets, form, bf16=False):
    if form == gpt.FORM:
        return torch_gpt.Training(
            config, weights, ids, targets, parameters.DROPOUT, _GPT_LOSS, bf16=bf16
        ).step
    return torch_model.Training(
        config,
        weights,
        ids,
        targets,
        parameters.DROPOUT,
        torch_compiled.loss,
        torch_compiled.recurrence,
        bf16,
    ).step


def golden_step(golden, form, bf16=False):
    return torch_model.golden_step(golden, torch_compiled.loss, torch_compiled.recurrence, bf16)


def gpt_loss(config, weights, ids, targets, bf16=False):
    training = torch_gpt.Training(config, weights, ids, targets, 0, _GPT_LOSS, bf16=bf16)
    return training.gradients(0).item()


def scan(label, form, x, dy):
    return torch_scan.prepare(label, form, x, dy, torch_compiled.compiled)


def clear():
    """Drop compiled code. Otherwise a call checks the guards of all earlier workloads in turn."""
    torch.compiler.reset()
