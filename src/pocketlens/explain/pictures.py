"""Small pictures for pages, and sheets of them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from pocketlens.core.errors import ImageError
from pocketlens.core.predictor import Request, read_bytes
from pocketlens.core.preprocess import Preprocess

_QUALITY = 72


def thumbnail(request: Request, side: int, *, margin: float = 0.0) -> Image.Image | None:
    """A sample shrunk to fit a square, in its own shape; None if it can't be read."""
    source, box = request
    spec = Preprocess(side, side, box_margin=margin)
    try:
        if isinstance(source, np.ndarray):
            pixels = source if box is None else spec.crop(source, box)
        else:
            pixels = spec.decode(read_bytes(source), box)
        image = Image.fromarray(np.ascontiguousarray(pixels))
    except ImageError:
        return None
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return image


def jpeg(image: Image.Image) -> str:
    """A picture as a small JPEG, base64."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def sheet(images: Sequence[Image.Image], side: int, columns: int) -> Image.Image:
    """Pictures in rows and columns on a light ground."""
    rows = max(1, -(-len(images) // columns))
    wide = min(columns, max(1, len(images)))
    canvas = Image.new("RGB", (wide * (side + 4) + 4, rows * (side + 4) + 4), (245, 246, 248))
    for i, image in enumerate(images):
        x, y = 4 + (i % columns) * (side + 4), 4 + (i // columns) * (side + 4)
        canvas.paste(image, (x + (side - image.width) // 2, y + (side - image.height) // 2))
    return canvas
