"""A tiny trained bundle, for tests that need one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pocketlens as pl
from pocketlens.core.bundle import Bundle
from pocketlens.training.config import TrainConfig

CONFIG = TrainConfig(
    model="test_byobnet", weights="none", epochs=10, image_size=32, batch_size=8, lr=3e-3
)


def train_tiny(photos: Path, out: Path, model: str = CONFIG.model) -> Bundle:
    """A network of 0.4 M parameters that tells the made-up shapes apart."""
    return pl.train(photos, out=out, config=replace(CONFIG, model=model))


def train_tiny_as(name: str, photos: Path, out: Path) -> Bundle:
    """A narrow network of another kind, for methods that are for such networks only."""
    return pl.train(photos, out=out, config=replace(CONFIG, model=name, width=0.25))
