"""Networks by name: which family knows one, what it takes, how large it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pocketlens import plugins
from pocketlens.core.errors import UserError
from pocketlens.core.preprocess import Preprocess
from pocketlens.extras import require
from pocketlens.measures.operations import count_operations
from pocketlens.training.config import TrainConfig

if TYPE_CHECKING:
    import torch


def find_family(model: str) -> tuple[str, Any]:
    """The model family that knows a network's name.

    Raises:
        UserError: none does; the message names similar ones.
    """
    similar: list[str] = []
    for name in plugins.names("models"):
        family = plugins.load("models", name)
        if family.knows(model):
            return name, family
        similar += family.similar(model) if "/" not in model or model.startswith(name) else []
    hint = f"; did you mean {', '.join(similar[:3])}?" if similar else ""
    raise UserError(f"no network is called {model!r}{hint} (timm.list_models() lists all)")


def check_network(config: TrainConfig) -> None:
    """Whether this network can be built, started and fed, before hours are spent on photos.

    Raises:
        UserError: no such network, its weights can't be had, or it doesn't take this image size.
    """
    require("torch", extra="train")
    family_name, family = find_family(config.model)
    module = family.build(config.model, 2, family.Config())
    if config.weights != "none":
        family.load_weights(module, config.model, config.weights)
    size = config.image_size or family.defaults(config.model)["size"]
    describe_model(family_name, config.model, {}, module, Preprocess(size, size))


def describe_model(
    family: str,
    name: str,
    config: Mapping[str, Any],
    module: torch.nn.Module,
    preprocess: Preprocess,
) -> dict[str, Any]:
    """`manifest.model`: enough to build the network again, and its size.

    Raises:
        UserError: the network doesn't take images of this size.
    """
    try:
        params, macs = count_operations(module, preprocess.height, preprocess.width)
    except Exception as error:  # each network has its own way to refuse a size
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{name} takes no images of {preprocess.width}x{preprocess.height} pixels: "
            f"{first_line}; leave out --image-size, or name another"
        ) from error
    return {
        "family": family,
        "name": name,
        "config": dict(config),
        "params": params,
        "macs": macs,
    }
