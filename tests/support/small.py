"""A network of two layers that ExecuTorch lowers in a second, and bundles that claim to hold it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.bundle import Bundle, Lineage, Manifest, write_bundle
from pocketlens.core.preprocess import Preprocess

SIDE = 16
MANIFEST = Manifest(
    task="single_label",
    classes=("bars", "disc", "square"),
    preprocess=Preprocess(SIDE, SIDE),
    runtime="torch",
    precision="float32",
    model={"family": "small", "name": "small"},
    lineage=Lineage(method="train"),
)


def network(seed: int = 0) -> Any:
    """A convolution and a linear layer: lowering takes seconds for each layer."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    layers = (nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(8, 3)).eval()


def noise(num: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(num, 3, SIDE, SIDE)).astype(np.float32)


def small_bundle(out: Path) -> Bundle:
    """A float bundle of a family that isn't there: its network is put in its place by the test."""
    return write_bundle(out, MANIFEST, {"model.safetensors": b""})


def restoring(real: Callable[[Bundle], Any]) -> Callable[[Bundle], Any]:
    """A runtime's `restore` that gives the small network for the bundles of this file."""

    def restore(bundle: Bundle) -> Any:
        return network() if bundle.manifest.model["family"] == "small" else real(bundle)

    return restore


def quantized(out: Path, **described: Any) -> Bundle:
    """An INT8 bundle whose manifest tells so of its quantization."""
    model = {**MANIFEST.model, "quantization": described}
    manifest = replace(MANIFEST, runtime="torch-int8", precision="int8", model=model)
    return write_bundle(out, manifest, {"model.safetensors": b""})


def pte_bundle(bundle: Bundle, out: Path, content: bytes, **changes: Any) -> Bundle:
    """A bundle with this file, and with a changed manifest."""
    manifest = replace(bundle.manifest, runtime="executorch", **changes)
    return write_bundle(out, manifest, {"model.pte": content})
