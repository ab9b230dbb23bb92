"""Training the head alone for some epochs, before the rest is let go."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def set_training(module: torch.nn.Module, *, head_only: bool) -> None:
    """Training mode; with `head_only` all but the last layer with weights keeps still.

    A frozen layer's batch norm keeps its running figures too: they belong to its weights.
    """
    import torch

    module.train()
    if not head_only:
        module.requires_grad_(True)
        return
    module.requires_grad_(False)
    _last_layer(module).requires_grad_(True)
    for layer in module.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._NormBase):
            layer.eval()


def _last_layer(module: torch.nn.Module) -> torch.nn.Module:
    """The last layer that multiplies: what is new when the classes are new."""
    import torch

    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    return [layer for layer in module.modules() if isinstance(layer, kinds)][-1]
