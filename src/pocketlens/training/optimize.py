"""Optimisers, and learning rates as a pure function of the step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from pocketlens.training.config import TrainConfig

if TYPE_CHECKING:
    import torch

#: One-cycle: the first rate is the highest / 25, the last the first / 10,000; the momentum goes
#: the other way (Smith & Topin 2018, "Super-Convergence"; the constants are torch's).
_START: Final = 25.0
_END: Final = 10_000.0
_MOMENTA: Final = (0.85, 0.95)


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Learning rate of a step (counted from 0): warm-up, then the schedule.

    `cosine` falls to 1/1000 of the highest rate (Loshchilov & Hutter 2017, SGDR, one cycle).
    """
    total = config.epochs * steps_per_epoch
    if config.schedule == "one_cycle":
        return _one_cycle(config, step, total, config.lr / _START, config.lr, down_to=1 / _END)
    warmup = round(config.warmup * total)
    if step < warmup:
        return config.lr * (0.04 + 0.96 * step / warmup)
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "step":
        return config.lr * 0.1 ** (step // steps_per_epoch // config.step_size)
    progress = (step - warmup) / max(1, total - 1 - warmup)
    return config.lr * (0.001 + 0.999 * (1 + math.cos(math.pi * min(1.0, progress))) / 2)


def momentum(config: TrainConfig, step: int, steps_per_epoch: int) -> float | None:
    """Momentum (of Adam the first beta) of a step; None where the schedule leaves it alone."""
    if config.schedule != "one_cycle":
        return None
    low, high = _MOMENTA
    return _one_cycle(config, step, config.epochs * steps_per_epoch, high, low, down_to=1.0)


def _one_cycle(
    config: TrainConfig, step: int, total: int, start: float, top: float, *, down_to: float
) -> float:
    """From `start` to `top` over the warm-up, then to `start * down_to`, both by a cosine."""
    turn = config.warmup * total - 1
    if step <= turn:
        return _between(start, top, step / turn if turn > 0 else 1.0)
    return _between(top, start * down_to, (step - turn) / max(1.0, total - 1 - turn))


def _between(a: float, b: float, share: float) -> float:
    return b + (a - b) / 2 * (1 + math.cos(math.pi * share))


def make_optimizer(module: torch.nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser; biases and normalisation (one-dimensional tensors) get no weight decay.

    With `layer_decay` each layer below another learns that share of its rate (`lr_scale` of the
    group), by timm's order of layers.
    """
    import torch

    groups: list[dict[str, Any]]
    if config.layer_decay < 1:
        from timm.optim import param_groups_layer_decay

        groups = param_groups_layer_decay(
            module, weight_decay=config.weight_decay, layer_decay=config.layer_decay
        )
    else:
        parameters = list(module.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, nesterov=True)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.lr)


def set_rates(optimizer: torch.optim.Optimizer, rate: float, momentum: float | None) -> None:
    """Put a step's rate, and perhaps momentum, into all groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)
        if momentum is None:
            continue
        if "betas" in group:
            group["betas"] = (momentum, group["betas"][1])
        else:
            group["momentum"] = momentum
