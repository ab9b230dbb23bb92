"""torchvision's ResNets, named `torchvision/resnet18` and the like."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pocketlens.core.errors import UserError
from pocketlens.extras import require
from pocketlens.models import _weights
from pocketlens.models._changes import Restructured, changed

if TYPE_CHECKING:
    import torch

EXTRA = "train"
_RESNETS: Final = re.compile(r"torchvision/((?:wide_)?res(?:net|next)\d+\w*)")


@dataclass(frozen=True)
class Config(Restructured):
    """No options beside the name and the changes."""


def knows(name: str) -> bool:
    """Whether this is one of torchvision's ResNets."""
    match = _RESNETS.fullmatch(name)
    return match is not None and match[1] in similar("")


def similar(name: str) -> list[str]:
    """All names, for messages; there are few."""
    models = require("torchvision.models", extra=EXTRA)
    return [m for m in models.list_models(module=models) if "resne" in m]


def build(name: str, num_classes: int, config: Config) -> torch.nn.Module:
    """The network with random weights; input NCHW float32, output logits NK."""
    models = require("torchvision.models", extra=EXTRA)
    module: torch.nn.Module = models.get_model(_bare(name), weights=None, num_classes=num_classes)
    return changed(module, config)


def defaults(name: str) -> dict[str, Any]:
    """How torchvision's newest weights for this network want their input."""
    transform = _default_weights(name).transforms()
    size = transform.crop_size[0]
    return {
        "size": size,
        "mean": tuple(transform.mean),
        "std": tuple(transform.std),
        "interpolation": transform.interpolation.value,
        "crop_pct": size / transform.resize_size[0],
        "num_classes": 1000,
    }


def load_weights(module: torch.nn.Module, name: str, weights: str, config: Config) -> str:
    """Put trained weights into a network that `build` made; returns where they came from.

    Raises:
        UserError: none can be had, or they don't fit.
    """
    if weights != "auto":
        _weights.load_into(module, _weights.read_state(Path(weights)), head=["fc"], source=weights)
        return weights
    chosen = _default_weights(name)
    attempts = [
        _weights.Attempt("the local cache", lambda: _cached(chosen.url)),
        _weights.Attempt("the hub", lambda: _downloaded(chosen)),
    ]
    source, state = _weights.first_found(name, attempts, package=None)
    _weights.load_into(module, state, head=["fc"], source=source)
    return source


def class_names(num_classes: int) -> tuple[tuple[str, ...], dict[str, dict[str, str]]]:
    """ImageNet's classes; torchvision's order is that of the sorted WordNet ids, as timm's."""
    from pocketlens.models import timm as timm_family

    return timm_family.class_names(num_classes)


def _bare(name: str) -> str:
    return name.removeprefix("torchvision/")


def _default_weights(name: str) -> Any:
    models = require("torchvision.models", extra=EXTRA)
    try:
        return models.get_model_weights(_bare(name)).DEFAULT
    except ValueError as error:
        raise UserError(f"torchvision has no network named {_bare(name)!r}") from error


def _downloaded(chosen: Any) -> dict[str, torch.Tensor]:
    _weights.require_network(chosen.url)
    state: dict[str, torch.Tensor] = chosen.get_state_dict(progress=False, check_hash=True)
    return state


def _cached(url: str) -> dict[str, torch.Tensor] | None:
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    return _weights.read_state(path) if path.is_file() else None
