"""Changes to a named network that its bundle keeps as data: widths of layers, other activations.

A pruned network has the layers of the one it is named for, with fewer channels; a network whose
activations were exchanged has other layers in some places. Both are told by a list of changes in
`manifest.model`, which are made again, in their order, each time the network is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pocketlens.core.errors import BundleError

if TYPE_CHECKING:
    import torch

#: Channels that no network has: a manifest that names more would only fill the memory.
_WIDEST: Final = 1 << 16


@dataclass(frozen=True)
class Restructured:
    """Options of every family of networks."""

    changes: tuple[Mapping[str, Any], ...] = ()
    """Changes to the layers, in their order; compression methods fill them in."""


def changed(module: torch.nn.Module, config: Restructured) -> torch.nn.Module:
    """The network with the changes made to it; its weights are then loaded.

    Raises:
        BundleError: a change of an unknown kind, or one that doesn't fit this network.
    """
    for change in config.changes:
        kind = change.get("kind") if isinstance(change, Mapping) else change
        if not isinstance(kind, str) or kind not in _KINDS:
            raise BundleError(
                f"the manifest's model has a change of kind {kind!r}, which this pocketlens "
                f"doesn't know (it knows {', '.join(_KINDS)}); update pocketlens"
            )
        try:
            _KINDS[kind](module, change)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise BundleError(
                f"the manifest's model has a change ({kind}) that doesn't fit its network: {error}"
            ) from error
    return module


def set_widths(module: torch.nn.Module, change: Mapping[str, Any]) -> None:
    """Give layers other numbers of channels.

    Args:
        change: `layers`: name -> `[in, out, groups]` of a convolution, `[in, out]` of a linear
            layer, `[channels]` of a normalisation layer.
    """
    import torch
    from torch import nn

    for name, numbers in change["layers"].items():
        layer = module.get_submodule(name)
        if any(not isinstance(number, int) or not 1 <= number <= _WIDEST for number in numbers):
            raise ValueError(f"{name} has widths {numbers}")
        if isinstance(layer, nn.Conv2d):
            layer.in_channels, layer.out_channels, layer.groups = numbers
            shape = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)
        elif isinstance(layer, nn.Linear):
            layer.in_features, layer.out_features = numbers
            shape = (layer.out_features, layer.in_features)
        else:
            (channels,) = shape = numbers
            layer.num_features = channels
            for key in ("running_mean", "running_var"):
                if getattr(layer, key, None) is not None:
                    start = torch.zeros(channels) if key == "running_mean" else torch.ones(channels)
                    setattr(layer, key, start)
        layer.weight = nn.Parameter(torch.zeros(shape))
        if layer.bias is not None:
            layer.bias = nn.Parameter(torch.zeros(shape[0]))


def exchange_activations(module: torch.nn.Module, change: Mapping[str, Any]) -> None:
    """Put cheap activations in the place of smooth ones; weights keep their names.

    Args:
        change: `to`: `relu6` or `relu`; `se`, what becomes of squeeze-excite: `keep` it as it is,
            `simplify` it (hard sigmoid, ReLU inside) or `remove` it.
    """
    from torch import nn

    new, treatment = {"relu": nn.ReLU, "relu6": nn.ReLU6}[change["to"]], change["se"]
    if treatment not in ("keep", "simplify", "remove"):
        raise ValueError(f"se is {treatment!r}")
    inside: set[nn.Module] = set()
    for path, layer in list(module.named_modules()):
        gate = _gate_of(layer)
        if gate is None or layer in inside:
            continue
        inside.update(layer.modules())
        if treatment == "remove":
            parent, _, name = path.rpartition(".")
            setattr(module.get_submodule(parent), name, nn.Identity())
        elif treatment == "simplify":
            _exchange_children(layer, nn.ReLU)
            setattr(layer, gate, nn.Hardsigmoid())
    for layer in list(module.modules()):
        if layer not in inside:
            _exchange_children(layer, new)


def _gate_of(layer: torch.nn.Module) -> str | None:
    """Name of what makes the factors, where a layer is a squeeze-excite block (or of its kind)."""
    for name in ("gate", "scale_activation"):  # of timm, of torchvision
        if type(getattr(layer, name, None)).__name__ in _GATES:
            return name
    return None


def _exchange_children(layer: torch.nn.Module, new: Callable[[], torch.nn.Module]) -> None:
    for name, child in list(layer.named_children()):
        if type(child).__name__ in _SMOOTH:
            setattr(layer, name, new())


#: Layers that are exchanged: torch's and timm's own, by the names of their classes.
_SMOOTH: Final = frozenset(
    "SiLU Swish SwishMe Hardswish HardSwish HardSwishMe GELU GELUTanh QuickGELU Mish MishMe "
    "HardMish HardMishMe ELU CELU LeakyReLU PReLU".split()
)
#: What a squeeze-excite block makes its factors with.
_GATES: Final = frozenset("Sigmoid Hardsigmoid HardSigmoid HardSigmoidMe".split())

#: Kind of a change -> what makes it.
_KINDS: Final[dict[str, Callable[[torch.nn.Module, Mapping[str, Any]], None]]] = {
    "widths": set_widths,
    "activations": exchange_activations,
}
