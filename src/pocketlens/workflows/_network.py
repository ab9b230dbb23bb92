"""Networks by name: which family knows one, what it takes, how large it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

from pocketlens import plugins
from pocketlens.core.errors import UserError
from pocketlens.core.preprocess import Preprocess
from pocketlens.extras import require
from pocketlens.measures.operations import count_operations
from pocketlens.plugins import find_family
from pocketlens.training.config import TrainConfig
from pocketlens.training.distilling import layer_pairs
from pocketlens.training.parallel import check_machine

if TYPE_CHECKING:
    import torch


class Network(NamedTuple):
    """A network with random weights, and what it was built from.

    Attributes:
        options: of the family's `Config`, where they differ from its defaults.
    """

    family_name: str
    family: Any
    name: str
    options: dict[str, Any]
    module: torch.nn.Module

    def load_weights(self, weights: str) -> str:
        """Put trained weights in; returns where they came from."""
        config = plugins.configure(self.family, self.options)
        source: str = self.family.load_weights(self.module, self.name, weights, config)
        return source

    def describe(self, preprocess: Preprocess) -> dict[str, Any]:
        """`manifest.model`; see `describe_model`."""
        return describe_model(self.family_name, self.name, self.options, self.module, preprocess)


def build_network(model: str, num_classes: int, width: float = 1.0) -> Network:
    """A network by its name, with random weights.

    Raises:
        UserError: no such network, or it can't have another width.
    """
    family_name, family = find_family(model)
    options = {} if width == 1 else {"width": width}
    if options and not _has_width(family_name):
        able = [n for n in plugins.names("models") if _has_width(n)]
        raise UserError(
            f"{model} can't have another width: --width is for networks of {' and '.join(able)}; "
            "timm has most of torchvision's by the same name without torchvision/"
        )
    config = plugins.configure(family, options)
    return Network(family_name, family, model, options, family.build(model, num_classes, config))


def _has_width(family: str) -> bool:
    return "width" in {field.name for field in fields(plugins.load("models", family).Config)}


def check_network(config: TrainConfig) -> None:
    """Whether this network can be built, started and fed, before hours are spent on photos.

    Raises:
        UserError: no such network, its weights can't be had, or it doesn't take this image size.
    """
    require("torch", extra="train")
    check_machine(config)
    network = build_network(config.model, 2, config.width)
    if config.weights != "none":
        network.load_weights(config.weights)
    size = config.image_size or network.family.defaults(config.model)["size"]
    network.describe(Preprocess(size, size))
    if config.teacher_features:
        from pocketlens.training.net import find_layer

        for layer, _ in layer_pairs(config):
            find_layer(network.module, layer)


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
