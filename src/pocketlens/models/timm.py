"""Any network of PyTorch Image Models (timm), by its name there."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketlens.core.errors import UserError
from pocketlens.extras import require
from pocketlens.models import _weights
from pocketlens.models._changes import Restructured, changed
from pocketlens.models._width import build_scaled, check_width

if TYPE_CHECKING:
    import torch

EXTRA = "train"


@dataclass(frozen=True)
class Config(Restructured):
    """Options beside the name."""

    width: float = 1.0
    """Multiplier of the channels of every layer."""

    def __post_init__(self) -> None:
        check_width(self.width)


def knows(name: str) -> bool:
    """Whether timm has a network of this name (a pretrained tag after a dot may follow)."""
    timm = require("timm", extra=EXTRA)
    return bool(timm.is_model(name.split(".")[0]))


def similar(name: str) -> list[str]:
    """Names that look alike, for messages."""
    timm = require("timm", extra=EXTRA)
    return difflib.get_close_matches(name, timm.list_models(), n=3)


def build(name: str, num_classes: int, config: Config) -> torch.nn.Module:
    """The network with random weights; input NCHW float32, output logits NK."""
    timm = require("timm", extra=EXTRA)
    if config.width != 1:
        return changed(build_scaled(name, num_classes, config.width), config)
    module: torch.nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes)
    return changed(module, config)


def defaults(name: str) -> dict[str, Any]:
    """How the trained weights want their input: `size`, `mean`, `std`, `interpolation`,
    `crop_pct` and `num_classes`.
    """
    cfg = _config(name)
    return {
        "size": int(cfg.input_size[-1]),
        "mean": tuple(map(float, cfg.mean)),
        "std": tuple(map(float, cfg.std)),
        "interpolation": cfg.interpolation,
        "crop_pct": float(cfg.crop_pct),
        "num_classes": int(cfg.num_classes),
    }


def load_weights(module: torch.nn.Module, name: str, weights: str, config: Config) -> str:
    """Put trained weights into a network that `build` made; returns where they came from.

    A network of another width takes what fits of those of the named one, and the answer also says
    how much that was.

    Args:
        weights: `auto` (installed package, local cache, hub, in this order) or a path.

    Raises:
        UserError: none can be had, or they don't fit.
    """
    cfg = _config(name)
    head = [cfg.classifier] if isinstance(cfg.classifier, str) else list(cfg.classifier or ())
    if weights != "auto":
        state = _weights.read_state(Path(weights))
        return _load(module, state, head, weights, config)
    package = _weights.PACKAGES.get(name.removesuffix(".in1k"))
    attempts = []
    if package is not None:
        attempts.append(_weights.Attempt(f"package {package}", lambda: _packaged(name, package)))
    attempts += [
        _weights.Attempt("the local cache", lambda: _cached(name, cfg)),
        _weights.Attempt("the hub", lambda: _downloaded(name)),
    ]
    source, state = _weights.first_found(name, attempts, package=package)
    return _load(module, state, head, source, config)


def _load(
    module: torch.nn.Module,
    state: dict[str, torch.Tensor],
    head: list[str],
    source: str,
    config: Config,
) -> str:
    if config.width == 1:
        with_head = _weights.load_into(module, state, head=head, source=source)
    else:
        with_head, told = _weights.cut_into(module, state, head=head, source=source)
        source = f"{source}: {told}"
    if not with_head:
        # Some of timm's families start a head from a range that grows as classes become fewer
        # (0.7 for two), and so with a loss far above chance; `reset_classifier` starts it small.
        num_classes = module.num_classes
        assert isinstance(num_classes, int)
        module.reset_classifier(num_classes)  # type: ignore[operator]
    return source


def class_names(num_classes: int) -> tuple[tuple[str, ...], dict[str, dict[str, str]]]:
    """ImageNet's classes in timm's order: WordNet ids, and for each its name and definition.

    Raises:
        UserError: the head isn't that of ImageNet-1k.
    """
    data = require("timm.data", extra=EXTRA)
    info = data.ImageNetInfo()
    ids = tuple(info.label_names())
    if len(ids) != num_classes:
        raise UserError(f"only heads of ImageNet's 1000 classes are known, not of {num_classes}")
    return ids, {
        key: {
            "name": info.label_name_to_description(key),
            "definition": info.label_name_to_description(key, detailed=True).split(": ", 1)[-1],
        }
        for key in ids
    }


def _config(name: str) -> Any:
    models = require("timm.models", extra=EXTRA)
    cfg = models.get_pretrained_cfg(name)
    if cfg is None:
        raise UserError(f"timm has no network named {name!r}")
    return cfg


def _packaged(name: str, package: str) -> dict[str, torch.Tensor] | None:
    import torch

    file = _weights.packaged_file(package)
    if file is None:
        return None
    timm = require("timm", extra=EXTRA)
    with torch.device("meta"):  # the network as it is named, for its tensors' names and shapes
        target = timm.create_model(name, pretrained=False).state_dict()
    return _weights.in_order_of(_weights.read_state(file), target, package)


def _cached(name: str, cfg: Any) -> dict[str, torch.Tensor] | None:
    import torch
    from huggingface_hub import try_to_load_from_cache

    if cfg.hf_hub_id:
        for file in ("model.safetensors", "pytorch_model.bin"):
            found = try_to_load_from_cache(cfg.hf_hub_id, file)
            if isinstance(found, str):
                return _filtered(name, Path(found))
    if cfg.url:
        path = Path(torch.hub.get_dir()) / "checkpoints" / str(cfg.url).rsplit("/", 1)[-1]
        if path.is_file():
            return _filtered(name, path)
    return None


def _filtered(name: str, file: Path) -> dict[str, torch.Tensor]:
    """Weights with timm's own renaming for this family applied."""
    timm = require("timm", extra=EXTRA)
    overlay = {"state_dict": _weights.read_state(file)}
    module: torch.nn.Module = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay=overlay
    )
    return module.state_dict()


def _downloaded(name: str) -> dict[str, torch.Tensor] | None:
    timm = require("timm", extra=EXTRA)
    cfg = _config(name)
    if not cfg.has_weights:
        return None
    from huggingface_hub.constants import ENDPOINT

    _weights.require_network(ENDPOINT if cfg.hf_hub_id else cfg.url)
    module: torch.nn.Module = timm.create_model(name, pretrained=True)
    return module.state_dict()
