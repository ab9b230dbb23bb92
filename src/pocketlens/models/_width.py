"""Narrower (or wider) networks of timm: one multiplier for the channels of every layer.

timm's builders take a multiplier, but its named networks pass their own to them, so that a keyword
would be given twice. Here the functions of a network's module are copied with other globals: the
copies hand the builders their multiplier times ours. Nothing of timm is altered, so several threads
may build at once.

Channels are rounded as timm's `round_channels` does, which is MobileNet's `make_divisible`: to the
nearest multiple of 8, and to the next one where that would take more than a tenth (`round_limit`
0.9). GhostNet's own rounding to 4 is made 8 too; the halves that its modules put together are then
multiples of 4. Stem and head are what each family makes of its multiplier: MobileNet, MixNet,
TinyNet, LCNet, GhostNet and EfficientNet-Lite keep the width of the head, Lite and TinyNet also
that of the stem, so that `mobilenetv2_100` at 0.5 is `mobilenetv2_050`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from pocketlens.core.errors import UserError
from pocketlens.extras import require

if TYPE_CHECKING:
    import torch

#: What timm's builders call their multiplier.
_MULTIPLIERS: Final = ("channel_multiplier", "model_width", "width")
#: Constructors that take a multiplier themselves, and its name.
_OPTIONS: Final = {"RexNet": "width_mult", "LCNetV2": "scale"}
_SMALL: Final = "mobilenetv3_small_050, lcnet_050, tinynet_e, repghostnet_050 are small anyway"
#: Narrowest and widest that make sense.
LIMITS: Final = (0.1, 2.0)


def check_width(width: float) -> None:
    """Refuse a multiplier that is none.

    Raises:
        UserError: it is out of range.
    """
    if not LIMITS[0] <= width <= LIMITS[1]:
        raise UserError(f"--width must be between {LIMITS[0]} and {LIMITS[1]:g}")


def build_scaled(name: str, num_classes: int, width: float) -> torch.nn.Module:
    """A network of timm with `width` times its channels, with random weights.

    Raises:
        UserError: timm has no multiplier for this family.
    """
    models = require("timm.models", extra="train")
    bare, _, tag = name.partition(".")
    entry = models.model_entrypoint(bare)
    this_build = _Build(width)
    copies = _with_globals(
        vars(sys.modules[entry.__module__]), entry.__module__, this_build.replaced
    )
    make: Callable[..., torch.nn.Module] = copies[entry.__name__]
    try:
        return make(pretrained=False, pretrained_cfg=tag or None, num_classes=num_classes)
    except (AssertionError, RuntimeError, ValueError) as error:  # groups of a fixed size, mostly
        raise UserError(f"{name} can't be built {width:g} times as wide: {error!r}") from error
    except _NotScalableError:
        raise UserError(
            f"{name} can't have another width: timm has no multiplier for its family. --width is "
            "for EfficientNet, MobileNet, MNASNet, MixNet, TinyNet, LCNet, FBNet, GhostNet, "
            f"RepGhost, ReXNet and ResNet; {_SMALL}"
        ) from None


class _NotScalableError(Exception):
    """No multiplier was met on the way to the constructor."""


class _Build:
    """One build: whether a builder was given the multiplier already."""

    def __init__(self, width: float) -> None:
        self.width = width
        self.done = False

    def replaced(self, name: str, function: Any) -> Any:
        """What the module's copy has in a function's place."""
        if name == "build_model_with_cfg":
            return partial(self._construct, function)
        if not name.startswith(("_gen", "_create")):
            return function
        known = inspect.signature(function).parameters
        multiplier = next((name for name in _MULTIPLIERS if name in known), None)
        return function if multiplier is None else self._multiplied(function, multiplier)

    def _multiplied(self, function: FunctionType, multiplier: str) -> Callable[..., Any]:
        signature = inspect.signature(function)

        def call(*given: Any, **options: Any) -> Any:
            bound = signature.bind(*given, **options)
            bound.apply_defaults()
            if not self.done:
                self.done = True
                bound.arguments[multiplier] *= self.width
            return function(*bound.args, **bound.kwargs)

        return call

    def _construct(
        self, function: Callable[..., Any], model_cls: Any, *given: Any, **options: Any
    ) -> Any:
        kind = model_cls.__name__
        if options.get("pruned"):  # its channels stand in a file
            raise _NotScalableError
        if kind in ("GhostNet", "RepGhostNet") and self.done:
            return function(_rounding_to_8(model_cls), *given, **options)
        if kind == "ResNet":
            return function(partial(_resnet, model_cls, self.width), *given, **options)
        if kind in _OPTIONS:
            options[_OPTIONS[kind]] = self.width * options.get(_OPTIONS[kind], 1.0)
            if kind == "RexNet":
                options["ch_div"] = max(8, options.get("ch_div", 1))
        elif not self.done:
            if "round_chs_fn" not in inspect.signature(model_cls).parameters:
                raise _NotScalableError
            rounding = require("timm.models._efficientnet_builder", extra="train").round_channels
            options["round_chs_fn"] = partial(rounding, multiplier=self.width)
        return function(model_cls, *given, **options)


def _with_globals(
    module: Mapping[str, Any], name: str, replaced: Callable[[str, Any], Any]
) -> dict[str, Any]:
    """A module's names, where its own functions look up each other and what `replaced` gives."""
    copies = dict(module)
    for key, value in module.items():
        if isinstance(value, FunctionType) and value.__module__ == name:
            copies[key] = replaced(key, _copy(value, copies))
        elif key == "build_model_with_cfg":
            copies[key] = replaced(key, value)
    return copies


def _copy(function: FunctionType, names: dict[str, Any]) -> FunctionType:
    copy = FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _constructor(cls: Any, **replaced: Any) -> Callable[..., Any]:
    """A class's constructor that finds other things under some global names."""
    init = _copy(cls.__init__, {**cls.__init__.__globals__, **replaced})

    def construct(**options: Any) -> Any:
        made = cls.__new__(cls)
        init(made, **options)
        return made

    return construct


def _rounding_to_8(cls: Any) -> Callable[..., Any]:
    """GhostNet's constructor rounds to 4."""
    make_divisible = cls.__init__.__globals__["make_divisible"]
    return _constructor(cls, make_divisible=lambda v, divisor: make_divisible(v, max(8, divisor)))


def _resnet(cls: Any, width: float, **options: Any) -> torch.nn.Module:
    """timm's ResNet takes the channels of its stages and of a deep stem, but not of a plain one."""
    nn = require("torch.nn", extra="train")
    layers = require("timm.layers", extra="train")

    def scaled(channels: int, divisor: int = 8) -> int:
        return int(layers.make_divisible(channels * width, divisor))

    options["channels"] = tuple(map(scaled, options.get("channels") or (64, 128, 256, 512)))
    stem_type = options.get("stem_type", "")
    if "deep" in stem_type:
        # The first of a tiered stem's three widths is three quarters of the second.
        divisor = 32 if "tiered" in stem_type else 8
        options["stem_width"] = scaled(options.get("stem_width", 64), divisor)
    if "deep" in stem_type or options.get("replace_stem_pool") or options.get("aa_layer"):
        made: torch.nn.Module = cls(**options)
        return made
    make_blocks, stem = cls.__init__.__globals__["make_blocks"], scaled(64)

    def after_stem(block_fns: Any, channels: Any, layers: Any, inplanes: int, **rest: Any) -> Any:
        return make_blocks(block_fns, channels, layers, stem, **rest)

    made = _constructor(cls, make_blocks=after_stem)(**options)
    conv = nn.Conv2d(options.get("in_chans", 3), stem, 7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    made.conv1, made.bn1 = conv, type(made.bn1)(stem)
    made.feature_info[0]["num_chs"] = stem  # type: ignore[index]
    return made
