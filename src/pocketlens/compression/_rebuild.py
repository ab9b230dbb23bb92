"""A network's layers as data: its family's options, and the network built from them again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pocketlens import plugins
from pocketlens.core.bundle import Bundle

if TYPE_CHECKING:
    import torch


def restored(bundle: Bundle) -> torch.nn.Module:
    """The bundle's network in evaluation mode.

    Raises:
        BundleError: it isn't a torch bundle, or its weights don't fit its description.
    """
    module: torch.nn.Module = plugins.load("runtimes", "torch").restore(bundle)
    return module


def with_change(bundle: Bundle, change: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the bundle's family with one more change to the layers."""
    options = dict(bundle.manifest.model.get("config", {}))
    return {**options, "changes": [*options.get("changes", ()), dict(change)]}


def build(bundle: Bundle, options: Mapping[str, Any]) -> torch.nn.Module:
    """The bundle's network with other options of its family, with random weights."""
    model = bundle.manifest.model
    family = plugins.load("models", model["family"])
    config = plugins.configure(family, dict(options))
    module: torch.nn.Module = family.build(model["name"], len(bundle.manifest.classes), config)
    return module.eval()


@contextmanager
def start_of(seed: int) -> Iterator[None]:
    """Random weights made inside are those of the seed; torch's own state stays as it is."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
