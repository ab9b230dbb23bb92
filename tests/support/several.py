"""Photos with several labels, for tests that need some."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = {"bars": (50, 60, 220), "disc": (210, 40, 40), "square": (40, 190, 60)}


def make_several(root: Path, num: int = 80, seed: int = 0) -> Path:
    """`root/labels.csv` and `num` photos with none, one or several of three coloured shapes."""
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True)
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "labels"])
        for number in range(num):
            names = [name for name in SHAPES if rng.random() < 0.45]
            path = root / f"{number:03d}.png"
            _draw(names, rng).save(path)
            writer.writerow([path.name, "|".join(names)])
    return root


def _draw(names: list[str], rng: np.random.Generator) -> Image.Image:
    ground = rng.integers(90, 150) + rng.normal(0, 12, size=(48, 48, 3))
    image = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    corners = rng.permutation([(2, 2), (25, 2), (2, 25), (25, 25)])
    for name, (x, y) in zip(names, corners.tolist(), strict=False):
        size = int(rng.integers(15, 21))
        colour = np.array(SHAPES[name]) + rng.integers(-25, 25)
        shade = tuple(int(v) for v in colour.clip(0, 255))
        if name == "disc":
            draw.ellipse((x, y, x + size, y + size), fill=shade)
        elif name == "square":
            draw.rectangle((x, y, x + size, y + size), fill=shade)
        else:
            for offset in range(0, size, 5):
                draw.rectangle((x + offset, y, x + offset + 2, y + size), fill=shade)
    return image
