"""Parameters and multiply-adds of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch


class Operations(NamedTuple):
    """Number of parameters, and multiply-adds of convolutions and linear layers for one image."""

    params: int
    macs: int


def count_operations(module: torch.nn.Module, height: int, width: int) -> Operations:
    """Count by torch's own counter, which sees every convolution and matrix product that runs."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    params = sum(p.numel() for p in module.parameters())
    was_training = module.training
    module.eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, 3, height, width, device=next(module.parameters()).device))
    module.train(was_training)
    return Operations(params, counter.get_total_flops() // 2)
