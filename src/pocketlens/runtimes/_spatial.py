"""The last layer of a network that still tells places of the photo apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pocketlens.core.errors import UserError
from pocketlens.extras import require

if TYPE_CHECKING:
    import torch

#: Cells that a map has at least; below, there is nothing to see.
_MIN_CELLS: Final = 2
#: Tokens before those of the places: class, distillation and register tokens.
_MOST_PREFIX: Final = 16


@dataclass(frozen=True)
class Target:
    """Where a map is taken.

    Attributes:
        name: of the layer in its network.
        height, width: cells of its map.
        to_NCHW: its output, whatever its layout, as `activations_NCHW`.
    """

    name: str
    layer: torch.nn.Module
    height: int
    width: int
    to_NCHW: Callable[[Any], Any]


def find_target(network: torch.nn.Module, height: int, width: int, where: str) -> Target:
    """The last layer to finish whose output has places that the answer depends on.

    Found by one run forwards and backwards on noise of the input's size. The gradient is asked
    for, since in a transformer that answers from its class token, the other tokens of the last
    block lead nowhere.

    Args:
        where: what an error calls the network.

    Raises:
        UserError: no layer has places; the message names what maps there can be.
    """
    torch = require("torch", extra="train")
    outputs: list[tuple[str, Any, Any]] = []
    hooks = [
        layer.register_forward_hook(
            lambda layer, _, output, name=name: outputs.append((name, layer, output))
        )
        for name, layer in network.named_modules()
        if name
    ]
    device = next(network.parameters()).device
    noise = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    try:
        with torch.enable_grad():
            logits = network(noise.to(device).requires_grad_())
    finally:
        for hook in hooks:
            hook.remove()
    candidates = []
    grid: tuple[int, int] | None = None
    for name, layer, output in outputs:
        if not isinstance(output, torch.Tensor) or not output.requires_grad:
            continue
        found = _layout(torch, layer, output, (height, width), grid)
        if found is not None:
            grid = found[0] if output.dim() == 4 else grid
            candidates.append((name, layer, output, found))
    for name, layer, output, ((high, wide), to_NCHW) in reversed(candidates):
        slope = torch.autograd.grad(logits.max(), output, retain_graph=True, allow_unused=True)[0]
        if slope is not None and to_NCHW(slope).abs().sum() > 0:
            return Target(name, layer, high, wide, to_NCHW)
    raise UserError(
        f"{where}: no layer of this network tells places of the photo apart, so it has no maps of "
        "that kind; take the method occlusion"
    )


def _layout(
    torch: Any, layer: Any, output: Any, size: tuple[int, int], grid: tuple[int, int] | None
) -> tuple[tuple[int, int], Callable[[Any], Any]] | None:
    """Height and width of a layer's map, and how it becomes NCHW; None if it has none."""
    shape = tuple(output.shape)
    if len(shape) == 4:
        found = axes(shape, size)
        if found is None:
            return None
        cells = shape[found[0]], shape[found[1]]
        return cells, (
            (lambda tensor: tensor)
            if found == (2, 3)
            else (lambda tensor: tensor.permute(0, 3, 1, 2))
        )
    # Of tokens only normalised ones: those between the parts of a block mix queries and keys.
    if len(shape) != 3 or grid is None or not isinstance(layer, torch.nn.LayerNorm):
        return None
    prefix = shape[1] - grid[0] * grid[1]
    if not 0 <= prefix <= _MOST_PREFIX:
        return None

    def unroll(tokens_NTC: Any) -> Any:
        places = tokens_NTC[:, prefix:].transpose(1, 2)
        return places.reshape(len(places), -1, *grid)

    return grid, unroll


def axes(shape: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int] | None:
    """Which two axes of a tensor of four sides are the photo's: 2 and 3, or 1 and 2; else None."""
    if len(shape) != 4:
        return None
    if are_places(shape[2:], size):
        return 2, 3
    # Behind a pooling, channels and a single row could be taken for places.
    return (1, 2) if min(shape[1:3]) > 1 and are_places(shape[1:3], size) else None


def are_places(cells: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Whether two sides of a tensor can be those of a photo of this size, scaled down.

    Other tensors of four sides, such as heads x tokens x channels, seldom have its shape.
    """
    high, wide = cells
    if high * wide < _MIN_CELLS or high > size[0] or wide > size[1]:
        return False
    # As wide for its height as the photo, but for less than one cell that rounding takes or gives.
    return abs(high * size[1] - wide * size[0]) < max(size)
