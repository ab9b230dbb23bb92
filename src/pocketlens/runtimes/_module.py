"""A torch bundle's network, built again from its manifest and its safetensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketlens import plugins
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import BundleError
from pocketlens.extras import require

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"


def restore(bundle: Bundle) -> torch.nn.Module:
    """The network in evaluation mode.

    Raises:
        BundleError: it isn't a torch bundle, or its weights don't fit its description.
        MissingExtraError: torch isn't installed.
    """
    require("torch", extra="train")
    from safetensors.torch import load_file

    if bundle.manifest.runtime != "torch":
        raise BundleError(
            f"{bundle.path} is a {bundle.manifest.runtime} bundle, this needs a torch one"
        )
    module = build(bundle)
    try:
        module.load_state_dict(load_file(bundle.file(WEIGHTS)))
    except RuntimeError as error:
        raise BundleError(
            f"{bundle.path}: the weights don't fit {bundle.manifest.model['name']}; was it made "
            "with another version of timm?"
        ) from error
    return module.eval()


def build(bundle: Bundle) -> torch.nn.Module:
    """The float network that a bundle's manifest describes, in evaluation mode, without weights.

    Raises:
        BundleError: the description names no network.
    """
    manifest = bundle.manifest
    missing = [key for key in ("family", "name") if not isinstance(manifest.model.get(key), str)]
    if missing:
        raise BundleError(f"{bundle.path}: the manifest's model has no {missing[0]}")
    family = plugins.load("models", manifest.model["family"])
    # A name such as `hf-hub:...` would have timm fetch a description from the network.
    if not family.knows(manifest.model["name"]):
        raise BundleError(f"{bundle.path}: no network is called {manifest.model['name']!r}")
    config = plugins.configure(family, dict(manifest.model.get("config", {})))
    module: torch.nn.Module = family.build(manifest.model["name"], len(manifest.classes), config)
    return module.eval()
