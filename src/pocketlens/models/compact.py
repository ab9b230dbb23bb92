"""Our own small ResNets, made for INT8: `compact/resnet18`, `compact/resnet34`, `compact/resnet50`.

ResNet-D of He et al., "Bag of Tricks for Image Classification with Convolutional Neural Networks"
(2019): the 7x7 stem is three 3x3 convolutions, shortcuts pool before their 1x1 convolution, the
stride is in the 3x3, and the last batch norm of a block starts at zero. Half as many channels as
theirs (32 to 256 in the four stages, a stem of 16, 16 and 32), and so about a quarter of the
parameters and operations: for few classes on small machines. `--width` multiplies that; 2 is the
original width.

Quantization stubs stand before the first and after the last layer, additions are `FloatFunctional`,
and each ReLU is a layer of its own, so that PyTorch's eager-mode INT8 (`fuse`, then `prepare` and
`convert`) goes through the whole network. There are no trained weights.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pocketlens.core.errors import UserError
from pocketlens.extras import require
from pocketlens.models import _weights
from pocketlens.models._changes import Restructured, changed
from pocketlens.models._width import check_width

if TYPE_CHECKING:
    import torch

EXTRA = "train"
_PREFIX: Final = "compact/"
_NAMES: Final = ("compact/resnet18", "compact/resnet34", "compact/resnet50")
#: Channels at width 1: of the stem's first two convolutions, and of the four stages.
_CHANNELS: Final = (16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Config(Restructured):
    """Options beside the name."""

    width: float = 1.0
    """Multiplier of the channels of every layer; they are rounded to multiples of 8."""

    def __post_init__(self) -> None:
        check_width(self.width)


def knows(name: str) -> bool:
    """Whether this is one of the three."""
    return name in _NAMES


def similar(name: str) -> list[str]:
    """All names, where this family is meant."""
    return list(_NAMES) if name.startswith(_PREFIX[:-1]) else []


def build(name: str, num_classes: int, config: Config) -> torch.nn.Module:
    """The network with random weights; input NCHW float32, output logits NK."""
    require("torch", extra=EXTRA)
    from pocketlens.models._resnet import CompactResNet

    rounded = require("timm.layers", extra=EXTRA).make_divisible
    half, *channels = (rounded(number * config.width, 8) for number in _CHANNELS)
    made = CompactResNet(name.removeprefix(_PREFIX), num_classes, channels, half)
    return changed(made, config)


def fuse(module: torch.nn.Module, *, train: bool = False) -> torch.nn.Module:
    """A copy where convolution, batch norm and ReLU are one, ready for `prepare`.

    Args:
        train: keep batch norm as a part of the layers, for `prepare_qat`; the copy is then in
            training mode. Else it is folded into the weights, for inference.
    """
    require("torch", extra=EXTRA)
    from torch.ao.quantization import fuse_modules, fuse_modules_qat

    from pocketlens.models._resnet import CompactResNet

    assert isinstance(module, CompactResNet)
    fuse_groups = fuse_modules_qat if train else fuse_modules
    fused: torch.nn.Module = fuse_groups(  # type: ignore[no-untyped-call]
        deepcopy(module).train(train), module.fuse_groups(), inplace=True
    )
    return fused


def defaults(name: str) -> dict[str, Any]:
    """How the input is made: as for networks trained on ImageNet."""
    return {
        "size": 224,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "interpolation": "bilinear",
        "crop_pct": 0.875,
        "num_classes": 1000,
    }


def load_weights(module: torch.nn.Module, name: str, weights: str, config: Config) -> str:
    """Put trained weights into a network that `build` made; returns where they came from.

    Raises:
        UserError: there are none by name, or those at a path don't fit.
    """
    if weights == "auto":
        raise UserError(
            f"there are no trained weights of {name}: start at random with --weights none, or pass "
            "a file or directory of your own with --weights PATH"
        )
    state = _weights.read_state(Path(weights))
    if config.width == 1:
        _weights.load_into(module, state, head=["head"], source=weights)
        return weights
    return f"{weights}: {_weights.cut_into(module, state, head=['head'], source=weights)[1]}"


def class_names(num_classes: int) -> tuple[tuple[str, ...], dict[str, dict[str, str]]]:
    """None were ever trained.

    Raises:
        UserError: always.
    """
    raise UserError("compact networks know no classes yet: train one with --weights none")
