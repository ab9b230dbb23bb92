"""Optimisers, and learning rates as a pure function of the step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pocketlens.training.config import TrainConfig

if TYPE_CHECKING:
    import torch


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Learning rate of a step (counted from 0): linear warm-up, then the schedule.

    `cosine` falls to 1/1000 of the highest rate (Loshchilov & Hutter 2017, SGDR, one cycle).
    """
    total = config.epochs * steps_per_epoch
    warmup = round(config.warmup * total)
    if step < warmup:
        return config.lr * (0.04 + 0.96 * step / warmup)
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "step":
        return config.lr * 0.1 ** (step // steps_per_epoch // config.step_size)
    progress = (step - warmup) / max(1, total - 1 - warmup)
    return config.lr * (0.001 + 0.999 * (1 + math.cos(math.pi * min(1.0, progress))) / 2)


def make_optimizer(module: torch.nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser; biases and normalisation (one-dimensional tensors) get no weight decay."""
    import torch

    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, nesterov=True)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.lr)
