"""The network as training calls it: logits, and the features that follow a teacher's.

Romero et al. (2015), "FitNets": a linear layer, trained along and thrown away, turns a layer of the
student into one of the teacher. Here both are averaged over the photo first, so that the teacher's
can be kept for the photo as it is while the student sees it augmented.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import torch
from torch import Tensor

from pocketlens.core.errors import UserError


class Net(torch.nn.Module):
    """Input NCHW -> logits NK, and for each named layer its features as the teacher's NF.

    Args:
        layers: names of layers of `module`, as `named_modules` gives them.
        num_features: of the teacher's layers.
        size: height and width of the input, to find how many features each layer has.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        layers: Sequence[str] = (),
        num_features: Sequence[int] = (),
        size: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__()
        self.module = module
        self.layers = tuple(layers)
        self.hints = torch.nn.ModuleList()
        if not self.layers:
            return
        with torch.no_grad(), Pooled(module, self.layers) as seen:
            was_training = module.training
            device = next(module.parameters()).device
            module.eval()(torch.zeros(1, 3, *size, device=device))
            module.train(was_training)
            widths = [seen[name].shape[1] for name in self.layers]
        for width, num in zip(widths, num_features, strict=True):
            self.hints.append(torch.nn.Linear(width, num))

    def forward(self, input_NCHW: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits and features."""
        with Pooled(self.module, self.layers) as seen:
            logits_NK: Tensor = self.module(input_NCHW)
            pairs = zip(self.hints, self.layers, strict=True)
            return logits_NK, [hint(seen[name]) for hint, name in pairs]


class Pooled:
    """`with Pooled(module, names) as seen`: what the layers give in the block, averaged: NF.

    Raises:
        UserError: there is no such layer, or it gives no tensor of at least two dimensions.
    """

    def __init__(self, module: torch.nn.Module, names: Sequence[str]) -> None:
        self._layers = [(name, find_layer(module, name)) for name in names]
        self._seen: dict[str, Tensor] = {}

    def __enter__(self) -> dict[str, Tensor]:
        self._handles = [
            layer.register_forward_hook(lambda _m, _i, out, name=name: self._keep(name, out))
            for name, layer in self._layers
        ]
        return self._seen

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _keep(self, name: str, value: object) -> None:
        if not isinstance(value, Tensor) or value.ndim < 2:
            raise UserError(f"--teacher-features: layer {name} gives no features")
        # NCHW is averaged over H and W, a transformer's NLC over L.
        axes = {2: (), 3: (1,), 4: (2, 3)}[min(value.ndim, 4)]
        self._seen[name] = value.float().mean(axes) if axes else value.float()


def find_layer(module: torch.nn.Module, name: str) -> torch.nn.Module:
    """A layer by its name.

    Raises:
        UserError: there is none; the message names similar ones.
    """
    layers = dict(module.named_modules())
    if name in layers and name:
        layer: torch.nn.Module = layers[name]
        return layer
    near = difflib.get_close_matches(name, layers, n=3, cutoff=0.4) or list(layers)[1:4]
    raise UserError(f"--teacher-features: no layer is called {name!r}; near: {', '.join(near)}")
